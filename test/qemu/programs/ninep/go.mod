module ninep

go 1.24
