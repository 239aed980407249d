module netload

go 1.24
