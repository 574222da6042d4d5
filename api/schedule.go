package api

import (
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // for hosts that have no time zones
)

// Schedule is a set of minutes, written as cron writes it: minute, hour, day of
// month, month, day of week. Make one with ParseSchedule; it does not change.
type Schedule struct {
	minutes       uint64
	hours, days   uint32
	months        uint16
	weekdays      uint8
	anyDay, anyWD bool // written as *: then only the other one of the two counts
	zone          *time.Location
}

// ParseSchedule reads five fields in the given time zone ("" is UTC). A field is
// *, a number, a range a-b, each with an optional /step, or a list of these with
// commas; months and days of the week have their English three-letter names too,
// and 7 is Sunday as 0 is. @hourly, @daily, @weekly, @monthly and @yearly are
// known. Where day of month and day of week are both given, either is enough.
func ParseSchedule(text, zone string) (*Schedule, error) {
	bad := func(what string) error {
		return Errorf(CodeInvalid, "%q is not a schedule: %s", text, what).
			WithHint("five fields are needed, such as 0 8 * * 1-5 (working days at eight)")
	}
	loc, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		return nil, Errorf(CodeInvalid, "%q is not a time zone", zone).WithHint("such as Europe/Berlin, or leave it out for UTC")
	}
	if short, ok := map[string]string{
		"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
	}[strings.TrimSpace(text)]; ok {
		text = short
	}
	fields := strings.Fields(text)
	if len(fields) != 5 {
		return nil, bad("it has " + strconv.Itoa(len(fields)) + " fields")
	}
	var set [5]uint64
	for i, k := range []struct {
		name        string
		least, most int
		words       string
	}{
		{"minute", 0, 59, ""}, {"hour", 0, 23, ""}, {"day of month", 1, 31, ""},
		{"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"}, {"day of week", 0, 7, "sunmontuewedthufrisat"},
	} {
		var ok bool
		if set[i], ok = cronField(fields[i], k.least, k.most, k.words); !ok {
			return nil, bad(strconv.Quote(fields[i]) + " is no " + k.name + " (" + strconv.Itoa(k.least) + "-" + strconv.Itoa(k.most) + ")")
		}
	}
	if set[4]&(1<<7) != 0 {
		set[4] |= 1
	}
	s := &Schedule{
		minutes: set[0], hours: uint32(set[1]), days: uint32(set[2]), months: uint16(set[3]), weekdays: uint8(set[4] & 0x7f),
		anyDay: strings.HasPrefix(fields[2], "*"), anyWD: strings.HasPrefix(fields[4], "*"), zone: loc,
	}
	if s.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, bad("there is no such day")
	}
	return s, nil
}

// cronField is the set of numbers that f lists.
func cronField(f string, least, most int, words string) (set uint64, ok bool) {
	number := func(s string) (int, bool) {
		if i := strings.Index(words, strings.ToLower(s)); len(s) == 3 && i >= 0 && i%3 == 0 {
			return i/3 + least, true
		}
		if s == "" || len(s) > 2 || strings.Trim(s, "0123456789") != "" {
			return 0, false
		}
		n, _ := strconv.Atoi(s)
		return n, n >= least && n <= most
	}
	for part := range strings.SplitSeq(f, ",") {
		span, step, stepped := strings.Cut(part, "/")
		every := 1
		if stepped {
			n, err := strconv.ParseUint(step, 10, 8)
			if err != nil || n == 0 {
				return 0, false
			}
			every = int(n)
		}
		from, to := least, most
		if span != "*" {
			a, b, ranged := strings.Cut(span, "-")
			var ok1, ok2 bool
			from, ok1 = number(a)
			switch {
			case ranged:
				to, ok2 = number(b)
			case stepped:
				ok2 = true
			default:
				to, ok2 = from, true
			}
			if !ok1 || !ok2 || from > to {
				return 0, false
			}
		}
		for i := from; i <= to; i += every {
			set |= 1 << i
		}
	}
	return set, true
}

// Next is the first minute of s after t; the zero time where there is none
// within eight years.
func (s *Schedule) Next(t time.Time) time.Time {
	u := t.Truncate(time.Minute).Add(time.Minute).In(s.zone)
	if u.Second() != 0 { // a zone of long ago
		u = u.Add(time.Duration(60-u.Second()) * time.Second)
	}
	for end := u.AddDate(8, 0, 1); u.Before(end); {
		before := u
		switch {
		case s.months&(1<<u.Month()) == 0:
			u = time.Date(u.Year(), u.Month()+1, 1, 0, 0, 0, 0, s.zone)
		case !s.day(u):
			u = time.Date(u.Year(), u.Month(), u.Day()+1, 0, 0, 0, 0, s.zone)
		case s.hours&(1<<u.Hour()) == 0:
			u = u.Add(time.Duration(60-u.Minute()) * time.Minute)
		case s.minutes&(1<<u.Minute()) == 0:
			u = u.Add(time.Minute)
		default:
			return u
		}
		if !u.After(before) { // a clock set forward or back on the way
			u = before.Truncate(time.Hour).Add(time.Hour)
		}
	}
	return time.Time{}
}

func (s *Schedule) day(t time.Time) bool {
	d, w := s.days&(1<<t.Day()) != 0, s.weekdays&(1<<t.Weekday()) != 0
	switch {
	case s.anyDay || s.anyWD:
		return d && w
	default:
		return d || w
	}
}
