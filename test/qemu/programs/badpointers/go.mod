module badpointers

go 1.24
