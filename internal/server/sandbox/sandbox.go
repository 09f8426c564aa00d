// Package sandbox takes from the process what it does not need to serve mail: new
// privileges (no_new_privs), the rest of the file system (Landlock) and system calls that
// only break-ins want (seccomp).
//
// The main function is [Enter]. Where the kernel lacks a part, the others hold; [Enter]
// tells which. Network connections are not limited: a mail server talks to all the world.
// On systems other than Linux nothing is there to be entered.
package sandbox

// Rules say what stays reachable.
type Rules struct {
	Read  []string // files and folders to read, with all below them
	Exec  []string // files to read and execute
	Write []string // folders to read and write, with all below them
}

// Report tells what is in force.
type Report struct {
	NoNewPrivs bool
	Landlock   int  // version of the kernel's Landlock, 0: none
	Seccomp    bool // the deny list
}
