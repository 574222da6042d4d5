package node

import "testing"

func TestMemory(t *testing.T) {
	for _, c := range []struct {
		text        string
		total, left int64
	}{
		{"MemTotal:        8000000 kB\nMemFree:          100000 kB\nMemAvailable:    5000000 kB\nBuffers: 1 kB\n", 8_000_000, 5_000_000},
		{"MemTotal:        8000000 kB\nMemFree:          100000 kB\n", 0, 0},
		{"MemTotal: x kB\n\nMemAvailable: 1 kB\n", 0, 1},
		{"", 0, 0},
	} {
		if total, left := memory([]byte(c.text)); total != c.total || left != c.left {
			t.Errorf("%q: %d of %d", c.text, left, total)
		}
	}
}
