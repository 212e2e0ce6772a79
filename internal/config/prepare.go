package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// prepare makes a tree ready to be decoded: references in values are replaced,
// literal secrets become known, and what is wrong with YAML itself is
// reported: keys given twice, keys that are no text, unknown tags, nesting.
// Aliases are not followed: what they stand for is prepared at its own place.
func (d *decoder) prepare(n *yaml.Node, key string, off bool, depth int) {
	if depth > maxDepth {
		d.fail(n, "nested deeper than %d levels", maxDepth)
		n.Content = nil
		return
	}
	if n.Anchor != "" {
		off = false // it may be used elsewhere
	}
	if n.Style&yaml.TaggedStyle != 0 && !knownTag(n) {
		d.fail(n, "the tag %s is not known here, leave it out", n.Tag)
		return
	}
	switch n.Kind {
	case yaml.ScalarNode:
		d.prepareScalar(n, key, off)
	case yaml.SequenceNode:
		for _, item := range n.Content {
			d.prepare(item, key, off || d.off[item] != "", depth+1)
		}
	case yaml.MappingNode:
		d.prepareKeys(n)
		for i := 0; i+1 < len(n.Content); i += 2 {
			below := n.Content[i].Value
			switch {
			case (below == "url" || below == "value") && looksSecret(key):
				below = key // the URL of a webhook, the value of a token
			case below == "url" && key == "heartbeat":
				below = "secret"
			case key == "capture", key == "login" && below == "token":
				below = key // jq for a token, which is no token
			}
			d.prepare(n.Content[i+1], below, off || d.off[n.Content[i+1]] != "", depth+1)
		}
	}
}

// prepareScalar replaces references. The type is found afresh in what comes
// of it, but it can become neither null nor a merge key nor anything but one value.
func (d *decoder) prepareScalar(n *yaml.Node, key string, off bool) {
	text, errs := d.expand.expand(n.Value)
	if len(errs) > 0 {
		d.references(n, key, errs, off)
	}
	if strings.Contains(n.Value, "$") {
		const quoted = yaml.TaggedStyle | yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
		d.expanded[n] = true
		n.Value = text
		if n.Style&quoted == 0 {
			n.Tag = ""
			if tag := n.ShortTag(); tag != "!!int" && tag != "!!float" && tag != "!!bool" {
				n.Tag = "!!str"
			}
		}
	}
	if looksSecret(key) && len(n.Value) >= shownOfSecret && !notSecret(key, n.Value) { // a shorter one may be any word
		d.secret(n.Value)
	}
}

// references reports references without a value, where they stand in the text.
// Those of unset variables are no errors in what is off.
func (d *decoder) references(n *yaml.Node, key string, errs []refError, off bool) {
	const most = 20 // of one value
	d.bad[n] = true
	from := d.src.offset(n.Line, n.Column)
	for _, e := range errs[:min(most, len(errs))] {
		if off && e.Unset {
			continue
		}
		line, column := n.Line, n.Column
		ref, _, _ := strings.Cut(e.Ref, "\n") // a folded line looks otherwise in the source
		if i := strings.Index(d.src.text[from:], ref); i >= 0 && i <= 2*e.At+200 {
			line, column = d.src.place(from + i)
		}
		text := e.Text
		if key != "" {
			text = key + ": " + text
		}
		d.src.add(line, column, 0, text)
	}
}

// prepareKeys reports keys that are no text or given twice.
func (d *decoder) prepareKeys(n *yaml.Node) {
	first := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode:
			d.fail(key, "a key is %s, want text", found(key))
		case key.Tag == "!!null":
			d.fail(key, "a key is missing before the colon")
		case first[key.Value] != nil:
			d.fail(key, "%q is given twice, the first time in line %d", short(key.Value), first[key.Value].Line)
		default:
			first[key.Value] = key
		}
	}
}

func knownTag(n *yaml.Node) bool {
	switch n.ShortTag() {
	case "!!str", "!!int", "!!float", "!!bool", "!!null":
		return n.Kind == yaml.ScalarNode
	case "!!map":
		return n.Kind == yaml.MappingNode
	case "!!seq":
		return n.Kind == yaml.SequenceNode
	}
	return false
}
