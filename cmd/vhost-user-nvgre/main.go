// Command vhost-user-nvgre is a vhost-user back end: a switch whose ports are
// NICs for virtual machines.
package main

import (
	"os"

	"vhost-user-nvgre/cmd/internal/daemon"
)

func main() { os.Exit(daemon.Main(os.Args[1:], os.Stdout, os.Stderr)) }
