module panics

go 1.24
