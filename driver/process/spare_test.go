package process

import (
	"net"
	"testing"
)

// TestSpareConnection: the first who dials gets the connection that was opened
// before, everyone after him one of his own, and none is left behind.
func TestSpareConnection(t *testing.T) {
	e, artifact, _ := open(t, nil)
	s := spec("python", artifact(map[string]string{"main.py": "def main(event):\n    return 'x'\n"}))
	got, err := e.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	in := got.(*instance)
	spare := in.warm.spare.Load()
	if spare == nil {
		t.Fatal("no connection was opened")
	}
	var dialled [2]net.Conn
	for i := range dialled {
		if dialled[i], err = in.Dial(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if dialled[0] != *spare || dialled[1] == *spare {
		t.Error("the first did not get it, or the second did too")
	}
	for _, c := range dialled {
		c.Close()
	}
	answer(t, in, "x")
	in.Stop(t.Context())
	if _, err := in.Dial(t.Context()); err == nil {
		t.Error("an instance that has ended can be dialled")
	}

	if got, err = e.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	in = got.(*instance)
	spare = in.warm.spare.Load()
	in.Stop(t.Context()) // nobody has dialled
	if _, err := (*spare).Write([]byte{0}); err == nil || in.warm.spare.Load() != nil {
		t.Errorf("its connection is left open: %v", err)
	}
}
