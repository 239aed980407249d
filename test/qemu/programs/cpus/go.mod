module cpus

go 1.24
