module floats

go 1.24
