module tmpfs

go 1.24
