package probe

import (
	"bytes"
	"encoding/json"
	"errors"
)

// JSON is a setting that is written as YAML and sent as JSON. Empty: it is not set.
type JSON []byte

// UnmarshalYAML reads any YAML value.
func (j *JSON) UnmarshalYAML(decode func(any) error) error {
	var v any
	if err := decode(&v); err != nil {
		return err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return errors.New("this has no form in JSON, want mappings with text for keys, lists, text, numbers, true, false")
	}
	*j = bytes.TrimRight(b.Bytes(), "\n")
	return nil
}

// MarshalJSON returns j itself.
func (j JSON) MarshalJSON() ([]byte, error) {
	if len(j) == 0 {
		return []byte("null"), nil
	}
	return j, nil
}
