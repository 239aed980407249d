module gc

go 1.24
