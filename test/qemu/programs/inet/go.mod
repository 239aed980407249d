module inet

go 1.24
