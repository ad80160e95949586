package conformance

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// WriteMarkdown writes reports as tables, rules by targets, with what broke
// below them.
func WriteMarkdown(w io.Writer, reports ...*Report) error {
	var b strings.Builder
	b.WriteString("# Conformance\n")
	for _, f := range []Flavour{ForQueue, ForStream} {
		of := slices.DeleteFunc(slices.Clone(reports), func(r *Report) bool { return r.Flavour != f })
		if len(of) > 0 {
			markdownTable(&b, f, of)
		}
	}
	for _, r := range reports {
		markdownDetails(&b, r)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("conformance: write report: %w", err)
	}
	return nil
}

func markdownTable(b *strings.Builder, f Flavour, reports []*Report) {
	fmt.Fprintf(b, "\n## %s\n\n| rule |", map[Flavour]string{ForQueue: "Queues", ForStream: "Streams"}[f])
	for _, r := range reports {
		fmt.Fprintf(b, " %s |", markdown(r.Target))
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(reports)) + "\n")
	for _, id := range rulesIn(reports) {
		fmt.Fprintf(b, "| %s |", markdown(titleOf(id)))
		for _, r := range reports {
			fmt.Fprintf(b, " %s |", markdown(inShort(r.row(id))))
		}
		b.WriteString("\n")
	}
}

// rulesIn returns the ids of the rules of reports, in the order of areas,
// and what that does not know at the end.
func rulesIn(reports []*Report) []string {
	have := map[string]bool{}
	var ids, unknown []string
	for _, r := range reports {
		for _, id := range r.rules() {
			if !have[id] && ruleOf(id) == nil {
				unknown = append(unknown, id)
			}
			have[id] = true
		}
	}
	for _, area := range areas() {
		for _, rule := range catalogue() {
			if have[rule.ID] && strings.HasPrefix(rule.ID, area.letter) {
				ids = append(ids, rule.ID)
			}
		}
	}
	return append(ids, unknown...)
}

type area struct{ letter, title string }

// areas are the parts of the catalogue, by the first letter of their ids.
func areas() []area {
	return []area{
		{"P", "Publish"}, {"Q", "Queue"}, {"S", "Stream"}, {"E", "Effectively once"}, {"L", "Lifecycle"}, {"I", "On the wire"},
	}
}

func titleOf(id string) string {
	if rule := ruleOf(id); rule != nil {
		return id + " " + rule.Name
	}
	return printable(id)
}

// inShort says what cells say: the worst verdict, the faults that it is
// because of, and how rare a fault would have shown.
func inShort(cells []*Cell) string {
	if len(cells) == 0 {
		return ""
	}
	worst := Verdict("")
	for _, c := range cells {
		worst = worseOr(worst, c.Verdict)
	}
	if worst == Held {
		if n := boundOf(cells); n > 0 {
			return fmt.Sprintf("held (1 in %d)", n)
		}
		return "held"
	}
	var faults []string
	for _, c := range cells {
		if c.Verdict == worst {
			faults = append(faults, c.Fault)
		}
	}
	if len(faults) == len(cells) {
		return string(worst)
	}
	return fmt.Sprintf("%s: %s", worst, strings.Join(faults, ", "))
}

func markdownDetails(b *strings.Builder, r *Report) {
	fmt.Fprintf(b, "\n## %s, %v\n\nSeed %d. \"1 in n\": a fault that strikes more often would have shown with 99 %%.\n", markdown(r.Target), r.Flavour, r.Seed)
	for i := range r.Cells {
		c := &r.Cells[i]
		if c.Verdict == Held {
			continue
		}
		fmt.Fprintf(b, "\n- **%s** under %s: **%s**", markdown(titleOf(c.Rule)), markdown(c.Fault), c.Verdict)
		for _, reason := range c.Reasons {
			fmt.Fprintf(b, "; %s", markdown(reason))
		}
		for k, v := range c.Violations {
			if k == deeply {
				break
			}
			fmt.Fprintf(b, "\n\n  %s (%s, seed %d)\n\n", markdown(v.Text), markdown(v.Scenario), v.Seed)
			for _, line := range v.Excerpt {
				fmt.Fprintf(b, "      %s\n", printable(line)) // a code block: nothing in it is markup
			}
		}
	}
	b.WriteString("\n")
}

// markdown escapes a text.
func markdown(s string) string {
	return strings.NewReplacer(
		`\`, `\\`, "|", `\|`, "<", "&lt;", ">", "&gt;", "&", "&amp;", "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "#", `\#`, "!", `\!`,
	).Replace(printable(s))
}
