module vhost-user-nvgre

go 1.26
