package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
)

// result is what is read of one line of `tripline check --format json`.
type result struct {
	Check    string `json:"check"`
	Class    string `json:"class"`
	Reason   string `json:"reason"`
	Evidence struct {
		Causes []struct {
			Name string `json:"name"`
		} `json:"causes"`
	} `json:"evidence"`
}

// score counts the cases of a family.
type score struct{ cases, class, failing, among, first int }

func (s *score) add(o score) {
	s.cases += o.cases
	s.class += o.class
	s.failing += o.failing
	s.among += o.among
	s.first += o.first
}

// compare prints a table of the families and every miss. It fails if fewer than
// 97 % of the classes are right, or the true cause is among those named for
// fewer than 97 % of the failures, or first for fewer than 60 %.
func compare(w io.Writer, cases []byte, causesFile string, files []string) error {
	var truths []truth
	if err := json.Unmarshal(cases, &truths); err != nil {
		return err
	}
	b, err := os.ReadFile(causesFile)
	if err != nil {
		return err
	}
	right := map[string][]string{}
	if err := json.Unmarshal(b, &right); err != nil {
		return fmt.Errorf("%s: %w", causesFile, err)
	}
	results, err := readResults(files)
	if err != nil {
		return err
	}
	var total score
	var order []string
	families := map[string]*score{}
	for _, t := range truths {
		r, ok := results[t.ID]
		if !ok {
			return fmt.Errorf("%s: no result", t.ID)
		}
		name := family(t.ID)
		if families[name] == nil {
			families[name] = &score{}
			order = append(order, name)
		}
		s := t.judge(w, r, right[t.Cause])
		families[name].add(s)
		total.add(s)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nfamily\tcases\tclass\tfailing\tcause named\tcause first")
	for _, name := range order {
		families[name].row(t, name)
	}
	total.row(t, "all")
	if err := t.Flush(); err != nil {
		return err
	}
	if total.class*100 < total.cases*97 || total.among*100 < total.failing*97 || total.first*100 < total.failing*60 {
		return fmt.Errorf("want 97 %% of the classes, the cause named in 97 %% of the failures and first in 60 %%")
	}
	return nil
}

func (s *score) row(w io.Writer, name string) {
	fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\n", name, s.cases, s.class, s.failing, s.among, s.first)
}

// judge scores one case, and prints what is wrong with it.
func (t truth) judge(w io.Writer, r result, right []string) score {
	s := score{cases: 1}
	if r.Class == t.Expect {
		s.class = 1
	} else {
		fmt.Fprintf(w, "%s: class %s, want %s (%s): %s\n", t.ID, r.Class, t.Expect, t.What, r.Reason)
	}
	if t.Expect == "ok" {
		return s
	}
	s.failing = 1
	var names []string
	for _, c := range r.Evidence.Causes {
		names = append(names, c.Name)
	}
	switch at := slices.IndexFunc(names, func(n string) bool { return slices.Contains(right, n) }); {
	case at == 0:
		s.among, s.first = 1, 1
	case at > 0:
		s.among = 1
		fmt.Fprintf(w, "%s: %s, cause %s is number %d of %v\n", t.ID, t.Expect, t.Cause, at+1, names)
	default:
		fmt.Fprintf(w, "%s: %s, cause %s is not among %v\n", t.ID, t.Expect, t.Cause, names)
	}
	return s
}

// readResults reads results by check; of several the last one counts.
func readResults(files []string) (map[string]result, error) {
	all := map[string]result{}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var r result
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				_ = f.Close() // only read
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			all[r.Check] = r
		}
		_ = f.Close() // only read
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return all, nil
}
