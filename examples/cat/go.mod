module cat

go 1.24
