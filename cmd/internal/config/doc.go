// Package config turns a configuration file and a command line into one
// Settings value.
//
// Every setting has one name, the same in the file, on the command line and
// in messages, and one row in a table (globalSettings, portSettings) that says
// how it is read, printed and described. docs/configuration.md holds the
// complete sample file; a test keeps it and Default equal.
package config
