package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/tripline/tripline/checks"
)

// fingerprints tells of each check and notifier what it was made of, so that a
// reload changes only what is different. That includes what is in the files they
// name: certificates and keys are renewed in place.
func (l *loader) fingerprints() {
	defaults := l.file.Defaults
	defaults.Every, defaults.Timeout, defaults.Confirm = nil, nil, nil // what they came to is in the check
	files := fileSums{sums: map[string]string{}, fields: map[reflect.Type][]fileField{}}
	common := fingerprint(struct {
		Defaults any
		Files    []string
	}{defaults, files.of(defaults)})
	l.cfg.Fingerprints = make(map[string]string, len(l.cfg.Checks))
	for i, c := range l.cfg.Checks {
		auth := l.file.Auth[l.file.Checks[i].Auth]
		l.cfg.Fingerprints[c.Name] = fingerprint(struct {
			Settings *Check
			Common   string
			Canaries []string `json:",omitempty"`
			Auth     checks.Auth
			Attempt  []int64
			Files    []string
		}{
			&l.file.Checks[i], common, l.file.Canaries, auth,
			[]int64{int64(c.Timeout), int64(c.Confirm), int64(l.seen[i].Interval)},
			files.of(&l.file.Checks[i], auth),
		})
	}
	for i := range l.cfg.Notifiers {
		n := &l.cfg.Notifiers[i]
		n.Fingerprint = fingerprint(struct {
			Kind, Off string
			Settings  any
			Others    []any
			Files     []string
		}{n.Kind, n.Off, n.Settings, []any{n.Route, n.Limit, n.Fallback, n.FallbackAfter}, files.of(n.Settings)})
	}
}

// fingerprint is a hash of v, which is plain data and may hold secrets.
func fingerprint(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		b = fmt.Appendf(nil, "%#v", v) // never equal to another load's: changed is the safe answer
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12])
}

// fileSums finds the files that settings name and sums up what is in them, each
// file once for a load.
type fileSums struct {
	sums   map[string]string // by name
	fields map[reflect.Type][]fileField
}

// fileField is a field that names a file, or may hold one that does.
type fileField struct {
	index int
	names bool
}

// of returns the sums of the files that settings name, in the order of their fields.
func (f *fileSums) of(settings ...any) []string {
	var sums []string
	for _, s := range settings {
		f.walk(reflect.ValueOf(s), &sums)
	}
	return sums
}

func (f *fileSums) walk(v reflect.Value, sums *[]string) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			f.walk(v.Elem(), sums)
		}
	case reflect.Slice:
		for i := range v.Len() {
			f.walk(v.Index(i), sums)
		}
	case reflect.Struct:
		for _, field := range f.fieldsOf(v.Type()) {
			switch part := v.Field(field.index); {
			case !field.names:
				f.walk(part, sums)
			case part.String() != "":
				*sums = append(*sums, f.sum(part.String()))
			}
		}
	}
}

func (f *fileSums) fieldsOf(t reflect.Type) []fileField {
	list, known := f.fields[t]
	if known {
		return list
	}
	for i := range t.NumField() {
		field := t.Field(i)
		tag := field.Tag.Get("yaml")
		if !field.IsExported() || tag == "" || tag == "-" {
			continue
		}
		key, _, _ := strings.Cut(tag, ",")
		kind := field.Type.Kind()
		if kind == reflect.Slice {
			kind = field.Type.Elem().Kind()
		}
		switch kind {
		case reflect.String:
			if kind == field.Type.Kind() && (strings.HasSuffix(key, "_file") || key == "client_cert" || key == "client_key") {
				list = append(list, fileField{i, true})
			}
		case reflect.Struct, reflect.Pointer, reflect.Interface:
			list = append(list, fileField{i, false})
		}
	}
	f.fields[t] = list
	return list
}

func (f *fileSums) sum(name string) string {
	s, known := f.sums[name]
	if !known {
		b, err := os.ReadFile(name)
		if err != nil {
			b = []byte(err.Error()) // whoever needs it has said so
		}
		h := sha256.Sum256(b)
		s = hex.EncodeToString(h[:12])
		f.sums[name] = s
	}
	return s
}
