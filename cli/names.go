package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
	"github.com/hearth-run/hearth/node"
)

// kind finds the kind a user wrote.
func kind(word string) (api.Kind, error) {
	if k, ok := api.FindIn(node.Kinds(), word); ok {
		return k, nil
	}
	var names, plurals []string
	for _, k := range node.Kinds() {
		if k.Group != "" && k.Group != api.Group {
			names = append(names, k.Short...)
		}
		names = append(names, k.Singular, k.Plural)
		plurals = append(plurals, k.Plural)
	}
	e := usage("there is no kind %q", word).WithHint("the kinds are %s", strings.Join(plurals, ", "))
	if n := api.Nearest(word, names); n != "" {
		e = e.WithHint("did you mean %s?", n)
	}
	return api.Kind{}, e
}

// mustKind is the kind called name, which is one of ours.
func mustKind(name string) api.Kind {
	k, ok := api.FindIn(node.Kinds(), name)
	if !ok {
		panic("no kind " + name)
	}
	return k
}

// objectName turns what people write into the name of an object: revisions are
// written FUNCTION@NUMBER.
func objectName(name string) string {
	if f, n, ok := strings.Cut(name, "@"); ok {
		return f + "-" + n
	}
	return name
}

// revisionText is the other way round: hello-3 becomes hello@3.
func revisionText(name string) string {
	i := strings.LastIndexByte(name, '-') // 00001 is Knative's way to count
	if i <= 0 || strings.HasPrefix(name[i+1:], "0") || i == len(name)-1 || strings.Trim(name[i+1:], "0123456789") != "" {
		return name
	}
	return name[:i] + "@" + name[i+1:]
}

// find gets the object a user means by "kind/name", or by a name that is unique
// among the kinds people write.
func (a *app) find(ctx context.Context, c *client.Client, t target, word string) (client.Object, error) {
	if k, name, ok := strings.Cut(word, "/"); ok {
		kd, err := kind(k)
		if err != nil {
			return client.Object{}, err
		}
		return a.get(ctx, c, t, kd, name)
	}
	if strings.Contains(word, "@") {
		return a.get(ctx, c, t, mustKind("revision"), word)
	}
	var found []client.Object
	for _, k := range namedKinds() {
		o, err := c.Get(ctx, k, word)
		switch {
		case err == nil:
			found = append(found, o)
		case !api.IsCode(err, api.CodeNotFound):
			return client.Object{}, err
		}
	}
	switch len(found) {
	case 0:
		return client.Object{}, a.notFound(ctx, c, t, mustKind("function"), word, "nothing is called")
	case 1:
		return found[0], nil
	}
	var refs []string
	for _, o := range found {
		refs = append(refs, ref(o))
	}
	return client.Object{}, usage("%q is the name of several objects", word).WithHint("write one of %s", strings.Join(refs, ", "))
}

// namedKinds are the kinds whose name alone is enough where it is unique.
func namedKinds() (out []api.Kind) {
	for _, k := range node.Kinds() {
		switch k.Kind {
		case "Event", "Revision", "Namespace", "ServiceAccount", "Configuration", "ClusterDomainClaim":
			continue
		case "Service", "Route":
			if k.Group == "" || k.Kind == "Route" && k.Group != api.Group {
				continue // made for others, and named like them
			}
		}
		out = append(out, k)
	}
	return out
}

// get is client.Get whose error for a missing object says which one may have
// been meant.
func (a *app) get(ctx context.Context, c *client.Client, t target, k api.Kind, name string) (client.Object, error) {
	if k.Resource() == api.Revisions {
		name = objectName(name)
	}
	o, err := c.Get(ctx, k, name)
	if api.IsCode(err, api.CodeNotFound) {
		return o, a.notFound(ctx, c, t, k, name, "no such "+k.Singular)
	}
	return o, err
}

// notFound says that there is no object name of kind k, and which one is near.
func (a *app) notFound(ctx context.Context, c *client.Client, t target, k api.Kind, name, what string) error {
	in := ""
	if k.Namespaced {
		in = " in tenant " + c.Namespace()
	}
	if !strings.HasSuffix(what, " "+name) && !strings.Contains(what, " "+name+":") {
		what += " " + name
	}
	e := api.Errorf(api.CodeNotFound, "%s%s%s", what, in, t.where()).WithHint("hearth get %s lists what there is", k.Plural)
	names := a.names(ctx, c, k)
	if n := api.Nearest(name, names); n != "" {
		if k.Resource() == api.Revisions {
			n = revisionText(n)
		}
		return e.WithHint("did you mean %s?", n)
	}
	if len(names) > 0 && len(names) <= 5 {
		e = e.WithHint("hearth get %s lists what there is: %s", k.Plural, strings.Join(names, ", "))
	}
	return e
}

// names lists the names of a kind, or nothing when that fails: they only serve
// hints and completion.
func (a *app) names(ctx context.Context, c *client.Client, k api.Kind) (names []string) {
	l, err := c.List(ctx, k, client.ListOptions{})
	if err != nil {
		return nil
	}
	for _, o := range l.Items {
		names = append(names, o.Meta.Name)
	}
	slices.Sort(names)
	return names
}

// count writes "1 function", "2 functions".
func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
