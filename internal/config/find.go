package config

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tripline/tripline/checks/probe"
)

// find returns the node at a path such as "tls.ca_file" or "conditions[2]"
// below n, and its key. When there is none it returns nil, and the key of the
// innermost part of the path that does exist (nil for n itself).
func (d *decoder) find(n *yaml.Node, path string) (key, value *yaml.Node) {
	for {
		n = resolved(n)
		if path == "" {
			return key, n
		}
		rest, k, v := d.step(n, path)
		if v == nil {
			return key, nil
		}
		if k != nil {
			key = k
		}
		path, n = rest, v
	}
}

// step follows the first part of a path.
func (d *decoder) step(n *yaml.Node, path string) (rest string, key, value *yaml.Node) {
	if index, ok := strings.CutPrefix(path, "["); ok && n.Kind == yaml.SequenceNode {
		number, rest, _ := strings.Cut(index, "]")
		i, err := strconv.Atoi(number)
		if err != nil || i < 0 || i >= len(n.Content) {
			return "", nil, nil
		}
		return strings.TrimPrefix(rest, "."), nil, n.Content[i]
	}
	if n.Kind != yaml.MappingNode {
		return "", nil, nil
	}
	if key, value := d.get(n, path); key != nil {
		return "", key, value
	}
	if !strings.ContainsAny(path, ".[") {
		return "", nil, nil
	}
	// Names may hold dots and brackets: headers.X-A[b]. The longest key wins.
	longest := -1
	for _, p := range d.pairs(n) {
		name := p.key.Value
		after, ok := strings.CutPrefix(path, name)
		if !ok {
			after, ok = strings.CutPrefix(path, "["+name+"]")
		}
		if ok && len(name) > longest && (after == "" || after[0] == '.' || after[0] == '[') {
			longest, rest, key, value = len(name), strings.TrimPrefix(after, "."), p.key, p.value
		}
	}
	return rest, key, value
}

// problem reports what a Validate found below the settings n. key is what to
// point at for what concerns them as a whole. Nothing is said of values that
// are wrong already, or empty since a reference is.
func (d *decoder) problem(n, key *yaml.Node, what, prefix string, p probe.Problem) {
	path := strings.Trim(prefix+"."+p.Path, ".")
	if path != "" {
		what += ": " + path
	}
	near, value := d.find(n, p.Path)
	if one, ok := strings.CutSuffix(p.Path, "[0]"); ok && value == nil {
		near, value = d.find(n, one) // a list of one that is written as one value
	}
	about := value
	switch {
	case value == nil && d.tainted(n, 0), value != nil && d.tainted(value, 0):
		return
	case value != nil && (value.Kind == yaml.ScalarNode || strings.HasSuffix(p.Path, "]")):
	case near != nil:
		about = near
	default:
		about = key
	}
	if d.bad[about] {
		return
	}
	d.src.add(about.Line, about.Column, 0, what+": "+p.Text)
}
