package sandbox

import (
	"fmt"
	"slices"
	"testing"
)

func TestLookUp(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/sh\nbad line\nx:x:y:1::/:/\napp:x:1000:1001:App:/home/app:/bin/sh\n1234:x:7:7::/seven:/bin/sh\n"
	const group = "root:x:0:\napp:x:1001:\naudio:x:29:app\nvideo:x:44:root, app\nbad\n"
	for _, c := range []struct {
		user     string
		uid, gid int
		want     string
	}{
		{"", -1, -1, "{0 0 [44] /root}"},
		{"app", -1, -1, "{1000 1001 [29 44] /home/app}"},
		{"1000", -1, -1, "{1000 1001 [29 44] /home/app}"},
		{"app:audio", -1, -1, "{1000 29 [] /home/app}"},
		{"app:5", -1, -1, "{1000 5 [] /home/app}"},
		{"app:", -1, -1, "{1000 1001 [29 44] /home/app}"},
		{"5000:6000", -1, -1, "{5000 6000 [] }"},
		{"app", 5000, -1, "{5000 0 [] }"},
		{"5:6", 1000, -1, "{1000 1001 [29 44] /home/app}"},
		{"app", -1, 9, "{1000 9 [29 44] /home/app}"},
		{"1234", -1, -1, "{7 7 [] /seven}"},
		{"ghost", -1, -1, `user "ghost" is not in the image's /etc/passwd`},
		{"app:ghosts", -1, -1, `group "ghosts" is not in the image's /etc/group`},
		{"-1", -1, -1, "user -1 is no user number"},
	} {
		p, err := lookUp(c.user, c.uid, c.gid, passwd, group)
		got := fmt.Sprint(p)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q %d %d: %s, want %s", c.user, c.uid, c.gid, got, c.want)
		}
	}
}

func FuzzLookUp(f *testing.F) {
	f.Add("app:audio", "app:x:1000:1001:App:/home/app:/bin/sh\n", "audio:x:29:app\n")
	f.Fuzz(func(t *testing.T, user, passwd, group string) {
		p, err := lookUp(user, -1, -1, passwd, group)
		if err == nil && (p.uid < 0 || p.gid < 0 || len(p.groups) > 64) {
			t.Errorf("%+v", p)
		}
	})
}

func TestListening(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:A0B0 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   2: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A 0 0 0
   3: 00000000:1F90 00000000:0000 0A
   4: nonsense 0 0A 0A
`
	if got := listening(table); !slices.Equal(got, []int{3000, 8080}) {
		t.Errorf("%v", got)
	}
}
