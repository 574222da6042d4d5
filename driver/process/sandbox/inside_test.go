package sandbox

// inside does what a test asked this binary to do inside a box.
func inside(args []string) bool { return false }
