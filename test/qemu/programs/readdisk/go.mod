module readdisk

go 1.24
