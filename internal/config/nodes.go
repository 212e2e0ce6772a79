package config

import "go.yaml.in/yaml/v3"

// A pair is one key of a mapping and its value.
type pair struct{ key, value *yaml.Node }

// get returns a key of a mapping and its value, nil if it is not there.
func (d *decoder) get(n *yaml.Node, name string) (key, value *yaml.Node) {
	merges := false
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Value == name && !d.bad[k] {
			return k, n.Content[i+1]
		}
		merges = merges || k.Tag == "!!merge"
	}
	if merges {
		for _, p := range d.pairs(n) {
			if p.key.Value == name {
				return p.key, p.value
			}
		}
	}
	return nil, nil
}

// pairs returns the keys and values of a mapping, those of its merge keys (<<)
// last. Duplicates were reported before.
func (d *decoder) pairs(n *yaml.Node) []pair {
	if pairs, ok := d.merged[n]; ok {
		return pairs
	}
	pairs := make([]pair, 0, len(n.Content)/2)
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch key := n.Content[i]; {
		case d.bad[key]:
		case key.Tag == "!!merge":
			merges = append(merges, n.Content[i+1])
		default:
			pairs = append(pairs, pair{key, n.Content[i+1]})
		}
	}
	if merges == nil {
		return pairs
	}
	d.merged[n] = pairs // in case it merges itself
	have := make(map[string]bool, len(pairs))
	for _, p := range pairs {
		have[p.key.Value] = true
	}
	for _, m := range merges {
		pairs = d.merge(pairs, have, m)
	}
	d.merged[n] = pairs
	return pairs
}

// merge adds the pairs that a merge key brings: those of a mapping, or of a
// list of mappings, that are not there yet.
func (d *decoder) merge(pairs []pair, have map[string]bool, m *yaml.Node) []pair {
	d.inAlias++
	defer func() { d.inAlias-- }()
	m = resolved(m)
	if d.bad[m] || !d.enter(m) {
		return pairs
	}
	defer func() { d.depth-- }()
	switch m.Kind {
	case yaml.SequenceNode:
		for _, item := range m.Content {
			pairs = d.merge(pairs, have, item)
		}
	case yaml.MappingNode:
		for _, p := range d.pairs(m) {
			if !d.spend(m) {
				break
			}
			if !have[p.key.Value] {
				have[p.key.Value] = true
				pairs = append(pairs, p)
			}
		}
	default:
		d.fail(m, "<<: %s, want a mapping to merge, such as *name", found(m))
	}
	return pairs
}

// isNull tells whether a key was written without a value.
func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// resolved returns what an alias stands for, and any other node itself.
func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// tainted tells whether something below n was reported already.
func (d *decoder) tainted(n *yaml.Node, depth int) bool {
	n = resolved(n)
	if d.bad[n] {
		return true
	}
	if depth > maxDepth {
		return false
	}
	for _, c := range n.Content {
		if d.tainted(c, depth+1) {
			return true
		}
	}
	return false
}
