module linux_init

go 1.24
