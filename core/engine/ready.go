package engine

// Probed is an Instance that is asked, while it runs, whether it is ready for
// calls. One that is not Probed is ready from Start to its end.
type Probed interface {
	// Ready says whether the instance takes new calls now; those it has it
	// finishes in any case. changed is closed when that is no longer true, so
	// that nothing is missed by asking again after it. An instance is ready when
	// Start returns it, and says nothing new once it has ended.
	Ready() (now bool, changed <-chan struct{})
}
