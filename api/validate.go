package api

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// MaxName is the longest name of an object: one DNS label.
const MaxName = 63

// CheckName says why name is no DNS label, or returns "".
func CheckName(name string) string {
	switch {
	case name == "":
		return "a name is needed"
	case len(name) > MaxName:
		return fmt.Sprintf("%d characters are too many; a name has at most %d", len(name), MaxName)
	}
	for i := range len(name) {
		c := name[i]
		inner := i > 0 && i < len(name)-1
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' && inner {
			continue
		}
		return fmt.Sprintf("%q is not a DNS label: lower-case letters, digits and, between them, hyphens", name)
	}
	return ""
}

// CheckSubdomain says why name is no DNS subdomain (labels joined by dots, at
// most 253 characters, as Secrets and ConfigMaps are named), or returns "".
func CheckSubdomain(name string) string {
	if len(name) > 253 {
		return "a name has at most 253 characters"
	}
	for label := range strings.SplitSeq(name, ".") {
		if why := CheckName(label); why != "" {
			return why
		}
	}
	return ""
}

// CheckMeta checks what every object's metadata must satisfy.
func CheckMeta(k Kind, m Meta) (errs []FieldError) {
	check := CheckName
	if k.Dotted || k.Group == "" && k.Kind != "Namespace" {
		check = CheckSubdomain
	}
	if m.Name != "" || m.GenerateName == "" {
		if why := check(m.Name); why != "" {
			errs = append(errs, FieldError{Path: "metadata.name", Message: why, Hint: "such as hello or shop-2"})
		}
	}
	if k.Namespaced && m.Namespace != "" {
		if why := CheckName(m.Namespace); why != "" {
			errs = append(errs, FieldError{Path: "metadata.namespace", Message: why, Hint: "such as default or team-a"})
		}
	}
	for key, v := range m.Labels {
		if !labelKey(key) {
			errs = append(errs, FieldError{Path: "metadata.labels", Message: fmt.Sprintf("%q is not a label key", key), Hint: "such as app or example.com/team"})
		}
		if !labelValue(v) {
			errs = append(errs, FieldError{Path: "metadata.labels." + key, Message: fmt.Sprintf("%q is not a label value: at most 63 letters, digits, '-', '_' and '.'", v), Hint: "such as shop or v1.2"})
		}
	}
	return errs
}

func labelKey(s string) bool {
	prefix, name, found := strings.Cut(s, "/")
	if !found {
		return s != "" && labelValue(s)
	}
	return name != "" && labelValue(name) && CheckSubdomain(prefix) == ""
}

func labelValue(s string) bool {
	if len(s) > 63 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || i == len(s)-1 || c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return true
}

func validateFunction(obj any) (errs []FieldError) {
	f := obj.(*Function)
	if len(f.Metadata.Name) > MaxName-8 {
		errs = append(errs, FieldError{Path: "metadata.name", Message: fmt.Sprintf("a function's name has at most %d characters, because its revisions add a number", MaxName-8), Hint: "such as hello or shop-2"})
	}
	s := f.Spec
	errs = append(errs, validateSource(s.Source)...)
	errs = append(errs, validateEnv("spec.env", s.Env, s.Source.Image != "")...)
	errs = append(errs, ValidateScale("spec.scale", s.Scale)...)
	if s.Timeout != nil && s.Timeout.Duration <= 0 {
		errs = append(errs, FieldError{Path: "spec.timeout", Message: "must be more than 0", Hint: "such as 30s"})
	}
	errs = append(errs, validateTraffic(s.Traffic)...)
	errs = append(errs, validateRollout(s.Rollout)...)
	errs = append(errs, validateTimeouts(s.Timeouts)...)
	if s.Source.Image != "" && s.Runtime != "" && s.Runtime != RuntimeImage {
		errs = append(errs, FieldError{Path: "spec.runtime", Message: "an image brings its own program", Hint: "remove runtime, or give source code instead of an image"})
	}
	if s.Runtime == RuntimeImage && s.Source.Image == "" {
		errs = append(errs, FieldError{Path: "spec.source.image", Message: "is needed with runtime: image", Hint: "such as registry.example.com/shop:1.2"})
	}
	switch s.Runtime { // a Runtime object may stand on command
	case RuntimeNode, RuntimePython, RuntimeGo:
		if len(s.Command) == 0 {
			break
		}
		errs = append(errs, FieldError{Path: "spec.command", Message: "only the command runtime takes a command", Hint: "set runtime: command, or remove it"})
	}
	for _, q := range []struct {
		path string
		v    Quantity
	}{{"spec.limits.memory", s.Limits.Memory}, {"spec.limits.disk", s.Limits.Disk}} {
		if b := q.v.Bytes(1 << 20); b < 1<<20 {
			errs = append(errs, FieldError{Path: q.path, Message: fmt.Sprintf("%s is less than 1Mi", q.v), Hint: "such as 128Mi"})
		}
	}
	if m, _ := s.Limits.CPU.Milli(); s.Limits.CPU != "" && m < 10 {
		errs = append(errs, FieldError{Path: "spec.limits.cpu", Message: fmt.Sprintf("%s is less than 10m", s.Limits.CPU), Hint: "such as 500m"})
	}
	return errs
}

func validateSource(s Source) (errs []FieldError) {
	n := 0
	for _, set := range []bool{s.Inline != "", len(s.Files) > 0, s.Archive != nil, s.Folder != "", s.Image != ""} {
		if set {
			n++
		}
	}
	if n != 1 {
		errs = append(errs, FieldError{Path: "spec.source", Message: fmt.Sprintf("exactly one of inline, files, archive, folder, image is needed; %d are given", n), Hint: "such as {image: ghcr.io/team/shop:1.2} or {files: {main.py: …}}"})
	}
	for p := range s.Files {
		if !SafePath(p) {
			errs = append(errs, FieldError{Path: "spec.source.files", Message: fmt.Sprintf("%q leaves the source folder", p), Hint: "use relative paths without .."})
		}
	}
	if a := s.Archive; a != nil {
		if (a.URL == "") == (a.Blob == "") {
			errs = append(errs, FieldError{Path: "spec.source.archive", Message: "exactly one of url and blob is needed", Hint: "such as {url: https://example.com/shop.zip, checksum: {sum: …}}"})
		}
		if a.URL != "" && a.Checksum == nil {
			errs = append(errs, FieldError{Path: "spec.source.archive.checksum", Message: "is needed with url", Hint: "sha256sum FILE prints it"})
		}
		if a.Checksum != nil && !hexDigest.MatchString(a.Checksum.Sum) {
			errs = append(errs, FieldError{Path: "spec.source.archive.checksum.sum", Message: "is not a sha256 sum of 64 hexadecimal digits", Hint: "sha256sum FILE prints it"})
		}
		if a.Blob != "" && !CheckDigest(a.Blob) {
			errs = append(errs, FieldError{Path: "spec.source.archive.blob", Message: fmt.Sprintf("%q is not a digest such as sha256:…", a.Blob), Hint: "sha256: and 64 hexadecimal digits"})
		}
	}
	return errs
}

var (
	hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)
	envName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
	method    = regexp.MustCompile(`^[A-Z]{1,20}$`)
)

// CheckDigest reports whether s is sha256: and 64 hexadecimal digits.
func CheckDigest(s string) bool {
	sum, ok := strings.CutPrefix(s, "sha256:")
	return ok && hexDigest.MatchString(sum)
}

// SafePath reports whether p, a slash-separated path, is relative, clean and
// stays inside the folder it is joined to.
func SafePath(p string) bool {
	if p == "" || strings.ContainsAny(p, "\x00\\") || path.IsAbs(p) {
		return false
	}
	c := path.Clean(p)
	return c != "." && c != ".." && !strings.HasPrefix(c, "../")
}

// validateEnv checks variables; those of a container may show facts about its
// instance.
func validateEnv(at string, env []EnvVar, container bool) (errs []FieldError) {
	seen := map[string]bool{}
	for i, e := range env {
		p := fmt.Sprintf("%s[%d]", at, i)
		if !envName.MatchString(e.Name) {
			errs = append(errs, FieldError{Path: p + ".name", Message: fmt.Sprintf("%q is not a variable name", e.Name), Hint: "letters, digits and _, not beginning with a digit, such as LOG_LEVEL"})
		}
		if seen[e.Name] {
			errs = append(errs, FieldError{Path: p + ".name", Message: fmt.Sprintf("%q is given twice", e.Name), Hint: "remove one of them"})
		}
		seen[e.Name] = true
		if v := e.ValueFrom; v != nil {
			if e.Value != "" {
				errs = append(errs, FieldError{Path: p, Message: "has both value and valueFrom", Hint: "remove one of them"})
			}
			of, given := "secretKeyRef and configMapKeyRef", []bool{v.SecretKeyRef != nil, v.ConfigMapKeyRef != nil}
			if container {
				of, given = "secretKeyRef, configMapKeyRef, fieldRef and resourceFieldRef", append(given, v.FieldRef != nil, v.ResourceFieldRef != nil)
			}
			n := 0
			for _, set := range given {
				if set {
					n++
				}
			}
			switch {
			case n != 1, !container && (v.FieldRef != nil || v.ResourceFieldRef != nil):
				errs = append(errs, FieldError{Path: p + ".valueFrom", Message: "exactly one of " + of + " is needed", Hint: "such as {secretKeyRef: {name: shop, key: password}}"})
			case v.FieldRef != nil && v.FieldRef.InEnv() != "":
				errs = append(errs, FieldError{Path: p + ".valueFrom.fieldRef.fieldPath", Message: fmt.Sprintf("%q is not known", v.FieldRef.FieldPath), Hint: v.FieldRef.InEnv()})
			}
		}
	}
	return errs
}

func validateRevision(obj any) (errs []FieldError) {
	r := obj.(*Revision)
	if r.Spec.Function == "" {
		errs = append(errs, FieldError{Path: "spec.function", Message: "is needed", Hint: "name of a function in the namespace, such as hello"})
	}
	if len(r.Spec.Containers) == 0 && !CheckDigest(r.Spec.Artifact) {
		errs = append(errs, FieldError{Path: "spec.artifact", Message: fmt.Sprintf("%q is not a digest such as sha256:…", r.Spec.Artifact), Hint: "sha256: and 64 hexadecimal digits"})
	}
	return append(errs, ValidateScale("spec.scale", r.Spec.Scale)...)
}

func validateRuntime(obj any) (errs []FieldError) {
	s := obj.(*Runtime).Spec
	if s.Base == "" && len(s.Command) == 0 {
		errs = append(errs, FieldError{Path: "spec", Message: "a base or a command is needed", Hint: "such as base: node"})
	}
	if s.Base == "" && s.Protocol == "" {
		errs = append(errs, FieldError{Path: "spec.protocol", Message: "is needed with a command", Hint: "one of hearth, http, fission/v1, fission/v2, fission/v3"})
	}
	if p := s.Pool; p != nil && p.Size != nil && p.Max != nil && *p.Size > *p.Max {
		errs = append(errs, FieldError{Path: "spec.pool.size", Message: fmt.Sprintf("%d is more than spec.pool.max (%d)", *p.Size, *p.Max), Hint: fmt.Sprintf("such as %d", *p.Max)})
	}
	return append(errs, validateEnv("spec.env", s.Env, false)...)
}

func validateSecret(obj any) (errs []FieldError) {
	s := obj.(*Secret)
	for k := range s.Data {
		errs = append(errs, checkKey("data", k)...)
	}
	for k := range s.StringData {
		errs = append(errs, checkKey("stringData", k)...)
	}
	return errs
}

func validateConfigMap(obj any) (errs []FieldError) {
	c := obj.(*ConfigMap)
	for k := range c.Data {
		errs = append(errs, checkKey("data", k)...)
	}
	for k := range c.BinaryData {
		errs = append(errs, checkKey("binaryData", k)...)
	}
	return errs
}

// checkKey guards keys, because they become file names.
func checkKey(field, k string) []FieldError {
	ok := k != "" && len(k) <= 253 && k != "." && k != ".."
	for i := range len(k) {
		c := k[i]
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if ok {
		return nil
	}
	return []FieldError{{Path: field, Message: fmt.Sprintf("%q is not a key: letters, digits, '-', '_' and '.'", k), Hint: "such as config.yaml"}}
}
