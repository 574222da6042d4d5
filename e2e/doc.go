// Package e2e holds tests only. Each starts the built hearth as a user would and
// looks at it from outside: the command, the gateway, the API, the processes and
// files of the machine. What a part does by itself is tested beside that part.
package e2e
