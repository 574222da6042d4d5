package sandbox

func networkTest() int { return 0 }
func zygoteMain() int  { return 0 }
