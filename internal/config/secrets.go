package config

import (
	"slices"
	"strings"

	"github.com/tripline/tripline/checks/probe"
)

// A vault knows the secrets of one config file: it tells the redactor that the
// program uses of them, and keeps them out of the messages about the file.
type vault struct {
	redact *probe.Redactor
	seen   map[string]bool
}

// add makes value known, and each line of it.
func (v *vault) add(value string) {
	if v.seen[value] || value == "true" || value == "false" {
		return
	}
	v.seen[value] = true
	v.redact.Add(value)
	if strings.ContainsAny(value, "\r\n") {
		for line := range strings.Lines(value) {
			if line = strings.TrimSpace(line); len(line) >= shownOfSecret {
				v.add(line)
			}
		}
	}
}

// shownOfSecret is how many bytes of the beginning of a secret, of a URL after
// its scheme, a message may hold: a message that cut a value may not hold more.
const shownOfSecret = 8

// clean removes the secrets from text, and the beginnings of secrets that
// somebody cut to make a message shorter.
func (v *vault) clean(text string) string {
	text = v.redact.String(text)
	for secret := range v.seen {
		least := shownOfSecret
		if scheme, _, ok := strings.Cut(secret, "://"); ok && slices.Contains([]string{"http", "https", "ws", "wss"}, scheme) {
			least += len(scheme) + len("://") // it is no secret, and begins other URLs too
		}
		if len(secret) < least {
			continue
		}
		for from := 0; ; {
			i := strings.Index(text[from:], secret[:least])
			if i < 0 {
				break
			}
			i += from
			n := least
			for n < len(secret) && i+n < len(text) && secret[n] == text[i+n] {
				n++
			}
			text = text[:i] + "***" + text[i+n:]
			from = i + len("***")
		}
	}
	return text
}

// authKey is the key of names of credentials, which are no secrets.
const authKey = "auth"

// notSecret tells whether a value below a key that looks secret says where a
// secret comes from, and not what it is: a template, a name.
func notSecret(key, value string) bool { return key == authKey || strings.Contains(value, "{{") }

// looksSecret tells whether the name of a variable or key says that its value
// must not be shown.
func looksSecret(name string) bool {
	name = strings.ToLower(name)
	if strings.HasSuffix(name, "_file") || strings.HasSuffix(name, "client_key") || strings.HasSuffix(name, "_path") {
		return false // where it is, not what it is
	}
	for _, word := range []string{
		"token", "secret", "passw", "pwd", "credential", "authorization", "cookie",
		"webhook", "bearer", "dsn", "private", "apikey", "_key_", "-key-",
	} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return strings.HasSuffix(name, "key") || strings.HasSuffix(name, "auth")
}

// maskLine replaces what may be a secret in a source line: the value of a key
// that looks secret, unless it is a plain reference, and what follows a scheme
// of the Authorization header. What follows on the line goes with it. It works
// on the text since it must do so where YAML is broken.
func maskLine(line string) (masked string, cut bool) {
	for i, r := range line {
		at := i + 1
		switch r {
		case ':', '=':
			key := strings.TrimRight(line[:i], " \t\"'")
			key = key[strings.LastIndexAny(key, " \t\"'{[,?&/")+1:]
			if !looksSecret(key) || r == ':' && key == authKey {
				continue
			}
		case ' ':
			word := line[strings.LastIndexAny(line[:i], " \t\"':")+1 : i]
			if !strings.EqualFold(word, "bearer") && !strings.EqualFold(word, "basic") {
				continue
			}
		default:
			continue
		}
		value := strings.TrimLeft(line[at:], " \t\"'")
		if value == "" || value[0] == '#' || isPlainReference(value) {
			continue
		}
		return line[:len(line)-len(value)] + "***", true
	}
	return line, false
}

// isPlainReference tells whether a source value is ${NAME} or ${file:PATH} and
// nothing else, which shows where a secret is and not what it is.
func isPlainReference(value string) bool {
	if !strings.HasPrefix(value, "${") {
		return false
	}
	n := closing(value)
	if n < 0 || strings.Contains(value[:n], ":-") && !strings.HasPrefix(value, "${file:") {
		return false
	}
	rest := strings.TrimLeft(value[n:], "\"' \t")
	return rest == "" || strings.ContainsAny(rest[:1], ",}]#")
}
