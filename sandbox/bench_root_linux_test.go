package sandbox

import (
	"os/exec"
	"testing"
)

// BenchmarkRoot compares a program started as it is with one in a root of its
// own, from nothing and from a held box.
func BenchmarkRoot(b *testing.B) {
	h := open(b)
	image := layer(b, nil)
	b.Run("exec", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command(image+"/bin/tool", "id").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("root", func(b *testing.B) {
		for b.Loop() {
			s, err := h.Share("pod", NetworkPrivate)
			if err != nil {
				b.Fatal(err)
			}
			x, err := h.Start(b.Context(), Config{Shared: s, Root: &Root{Layers: []string{image}}, Args: []string{"/bin/tool", "id"}})
			if err != nil {
				b.Fatal(err)
			}
			<-x.Done()
			b.StopTimer()
			s.Close()
			b.StartTimer()
		}
	})
	b.Run("held", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			s, err := h.Share("pod", NetworkPrivate)
			if err != nil {
				b.Fatal(err)
			}
			x, err := h.Start(b.Context(), Config{Shared: s, Hold: true})
			if err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if err := x.Enter(b.Context(), Config{Root: &Root{Layers: []string{image}}, Args: []string{"/bin/tool", "id"}}); err != nil {
				b.Fatal(err)
			}
			<-x.Done()
			b.StopTimer()
			s.Close()
			b.StartTimer()
		}
	})
}
