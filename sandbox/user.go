package sandbox

import (
	"fmt"
	"strconv"
	"strings"
)

// person is who a program in a root runs as.
type person struct {
	uid, gid int
	groups   []int
	home     string // empty: not known
}

// lookUp finds user, user[:group] by names or numbers, in the text of a passwd
// and a group file. uid and gid overrule it unless they are negative. A number
// needs no line; its group is 0 then.
func lookUp(user string, uid, gid int, passwd, group string) (person, error) {
	name, groupName, hasGroup := strings.Cut(user, ":")
	if uid >= 0 {
		name = strconv.Itoa(uid)
		hasGroup = false // the group belongs to the user that was overruled
	}
	var p person
	login := ""
	number, err := strconv.Atoi(name)
	switch {
	case name == "":
		number, err = 0, nil
	case err == nil && (number < 0 || number > 1<<31-1):
		return p, fmt.Errorf("user %s is no user number", name)
	}
	numeric, found := err == nil, false
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(f) < 6 {
			continue
		}
		u, e1 := strconv.Atoi(f[2])
		g, e2 := strconv.Atoi(f[3])
		if e1 != nil || e2 != nil || u < 0 || g < 0 {
			continue
		}
		if f[0] == name && uid < 0 || numeric && u == number {
			p.uid, p.gid, p.home, login, found = u, g, f[5], f[0], true
			break
		}
	}
	switch {
	case !found && !numeric:
		return p, fmt.Errorf("user %q is not in the image's /etc/passwd", name)
	case !found:
		p.uid = number
	}
	if hasGroup && groupName != "" {
		if p.gid, err = groupNumber(groupName, group); err != nil {
			return p, err
		}
	}
	if gid >= 0 {
		p.gid = gid
	}
	if login != "" && !(hasGroup && groupName != "") {
		p.groups = memberships(login, group, p.gid)
	}
	return p, nil
}

func groupNumber(name, group string) (int, error) {
	for line := range strings.Lines(group) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(f) >= 3 && f[0] == name {
			if n, err := strconv.Atoi(f[2]); err == nil && n >= 0 {
				return n, nil
			}
		}
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n <= 1<<31-1 {
		return n, nil
	}
	return 0, fmt.Errorf("group %q is not in the image's /etc/group", name)
}

// memberships are the groups that list login, without its own; 64 at most.
func memberships(login, group string, own int) []int {
	var out []int
	for line := range strings.Lines(group) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(f) < 4 || len(out) == 64 {
			continue
		}
		n, err := strconv.Atoi(f[2])
		if err != nil || n < 0 || n == own {
			continue
		}
		for m := range strings.SplitSeq(f[3], ",") {
			if strings.TrimSpace(m) == login {
				out = append(out, n)
				break
			}
		}
	}
	return out
}
