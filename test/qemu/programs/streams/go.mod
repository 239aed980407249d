module streams

go 1.24
