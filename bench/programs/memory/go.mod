module memory

go 1.24
