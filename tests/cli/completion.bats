#!/usr/bin/env bats
# Completions of three shells, made from the option tables; and whether help, tables, pages and completions
# name the same options.
bats_require_minimum_version 1.5.0

load common

setup_file() {
	# shellcheck disable=SC2154 # BATS_FILE_TMPDIR is bats'
	cd "$BATS_FILE_TMPDIR"
	mkdir bin home
	ln -s "$CROCUTA" bin/crocuta
	"$ROOT/tools/make-completions" "$CROCUTA" made
	"$CROCUTA" options-dump --commands | cut -f 1 > commands
	cat > capture.zsh <<'END'
# capture.zsh DIR LINE...: what an interactive zsh offers behind each LINE; DIR has _crocuta
zmodload zsh/zpty
mkdir ../zsh.$$
export CAPTURE=${PWD:h}/zsh.$$/captured TERM=dumb
cat > ../zsh.$$/rc <<'RC'
stty rows 1000 cols 200
LISTMAX=100000
autoload -Uz compinit && compinit -u -D
compadd() {
	local -a hits
	if [[ " ${argv[1,(i)--]} " == *" -"(O|A|D)* ]]; then builtin compadd "$@"; return; fi
	builtin compadd -A hits "$@"
	print -rl -- $hits >> $CAPTURE
	builtin compadd "$@"
}
finish() { print -r -- ":end" >> $CAPTURE }
show() { comppostfuncs=(finish); zle list-choices; BUFFER= }
zle -N show
bindkey '^T' show
finish
RC
wait_end() {
	local i junk
	for ((i = 0; i < 500; i++)); do
		while zpty -r -t shell junk; do :; done
		[[ "$(tail -n 1 $CAPTURE)" != :end ]] || return 0
		sleep 0.02
	done
	print -u2 "no answer from zsh"
	exit 1
}
: > $CAPTURE
zpty -b shell zsh -f -i
zpty -w shell "fpath=(${(q)1} \$fpath); . ../zsh.$$/rc"
wait_end
shift
for line; do
	: > $CAPTURE
	zpty -n -w shell "$line"$'\x14'
	wait_end
	print -r -- ${(ou)${(f)"$(grep -v '^:end' $CAPTURE)"}}
done
zpty -d shell
END
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	made=$BATS_FILE_TMPDIR/made
	export PATH=$BATS_FILE_TMPDIR/bin:$PATH HOME=$BATS_FILE_TMPDIR/home CROCUTA_MODEL_PATH=$ROOT/models
	unset XDG_DATA_HOME
	touch reads.bam ref.fa
	mkdir results
	models_results=$({ "$CROCUTA" model list -q | grep -v '^#' | cut -f 1; echo results; } | sort -u | paste -sd ' ')
}

needs() { command -v "$1" > /dev/null || skip "$1 is not here"; }

# in_bash LINE: COMPREPLY in one line, with the words cut as readline cuts them
in_bash() {
	# shellcheck disable=SC2016 # for the shell that is asked
	env -u BASH_ENV bash --norc -c '
		source "$1/crocuta.bash"
		COMP_LINE=$2 COMP_POINT=${#2} COMP_TYPE=9 COMP_KEY=9
		COMP_WORDBREAKS=$'"' \t\n\"\\'@><=;|&(:'"'
		rest=$2 COMP_WORDS=()
		while [ -n "$rest" ]; do
			word=${rest%%[ =:@]*}
			[ -z "$word" ] || COMP_WORDS+=("$word")
			rest=${rest#"$word"}
			case $rest in
			[=:@]*) COMP_WORDS+=("${rest:0:1}") ;;
			esac
			[ "$rest" != " " ] || COMP_WORDS+=("")
			rest=${rest:1}
		done
		COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
		_crocuta crocuta "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
		printf "%s\n" "${COMPREPLY[@]}" | sort -u | tr "\n" " "
		echo' in_bash "$made" "$1"
}

in_zsh() { # LINE...
	zsh -f "$BATS_FILE_TMPDIR/capture.zsh" "$made" "$@"
}

in_fish() { # LINE: words, without what explains them
	# shellcheck disable=SC2016 # fish's
	fish --no-config -c 'source $argv[1]; complete -C $argv[2]' "$made/crocuta.fish" "$1" |
		cut -f 1 | sed 's/=$//' | sort -u | tr '\n' ' ' # a value that may be left out: also --name=
	echo
}

# offers WANTED LINE, by $shell
offers() {
	local got
	got=$($shell "$2" | sed 's/ *$//')
	[ "$got" = "$1" ] || {
		echo "$shell: $2: wanted [$1], got [$got]"
		return 1
	}
}

table_options() { # COMMAND: --long and -x, sorted, with those of help, in one line
	# shellcheck disable=SC2086 # words
	{
		"$CROCUTA" options-dump $1 | awk -F'\t' 'NF > 1 { print "--" $1; if ($2 != "-") print "-" $2 }'
		echo --help
		echo -h
	} | sort | paste -sd ' '
}

@test "the same files again, and into a directory that is there" {
	mkdir again
	"$ROOT/tools/make-completions" "$CROCUTA" again
	diff -r "$made" again
	[ "$(find again -type f -printf "%f\n" | sort | paste -sd ' ')" = "_crocuta crocuta.bash crocuta.fish" ]
	run "$ROOT/tools/make-completions" "$CROCUTA"
	[ "$status" = 2 ]
}

@test "bash: commands, subcommands" {
	shell=in_bash
	commands=$("$CROCUTA" options-dump | sort | paste -sd ' ')
	offers "$commands" "crocuta "
	offers "embed" "crocuta em"
	offers "--help --version --version-only -h" "crocuta -"
	offers "$("$CROCUTA" options-dump model | sort | paste -sd ' ')" "crocuta model "
	offers "" "crocuta nosuch --"
	bash -n "$made/crocuta.bash"
}

@test "bash: options of every command, all of the tables" {
	shell=in_bash
	while read -r command; do
		offers "$(table_options "$command")" "crocuta $command -"
	done < "$BATS_FILE_TMPDIR/commands"
	offers "--device --dry-run --dtype" "crocuta embed --d"
	offers "--dtype" "crocuta embed -@ 4 --device=cuda:1,2 -m tiny-1k ref.fa --dt"
	offers "" "crocuta embed -- --dt"
}

@test "bash: values" {
	shell=in_bash
	offers "bf16 f32" "crocuta embed --dtype "
	offers "bf16 f32" "crocuta embed --dtype="
	offers "bf16" "crocuta embed -q --dtype=b"
	offers "last" "crocuta embed --layer l"
	offers "all" "crocuta embed --device=cuda:a"
	offers "auto cpu cuda cuda:all" "crocuta score --device "
	offers "csi tbi" "crocuta score --write-index="
	offers "reads.bam ref.fa results" "crocuta score -W re"
	offers "$models_results" "crocuta embed -m "
	offers "tiny-1k" "crocuta embed --model=t"
	offers "results" "crocuta model convert -o "
	offers "ref.fa" "crocuta classify --fasta-ref=ref"
	offers "" "crocuta embed --regions "
	offers "reads.bam ref.fa results" "crocuta fit --valid one=re"
	offers "reads.bam ref.fa results" "crocuta fit --valid=one=re"
}

@test "bash: operands" {
	shell=in_bash
	for command in embed score classify fit concat; do
		offers "reads.bam ref.fa results" "crocuta $command -q re"
	done
	offers "ref.fa" "crocuta fit class=ref"
	offers "$models_results" "crocuta model show "
	offers "tiny-1k" "crocuta bench ti"
	offers "" "crocuta model list "
}

@test "zsh: parses, and offers the same" {
	needs zsh
	zsh -n "$made/_crocuta"
	cut -f 1 "$BATS_FILE_TMPDIR/commands" | sed 's/.*/crocuta & -/' > lines
	cat >> lines <<'END'
crocuta 
crocuta model 
crocuta embed --dtype=
crocuta embed --device 
crocuta embed --layer=l
crocuta score --write-index=
crocuta embed -m 
crocuta model show 
crocuta embed -@ 4 re
crocuta fit --valid=one=re
crocuta fit -o 
END
	while read -r command; do
		table_options "$command"
	done < "$BATS_FILE_TMPDIR/commands" > wanted
	{
		"$CROCUTA" options-dump | sort | paste -sd ' '
		"$CROCUTA" options-dump model | sort | paste -sd ' '
		echo "bf16 f32"
		echo "auto cpu cuda cuda:all"
		echo "last"
		echo "csi tbi"
		echo "$models_results"
		echo "$models_results"
		echo "reads.bam ref.fa results"
		echo "reads.bam ref.fa results"
		echo "results"
	} >> wanted
	mapfile -t lines < lines
	in_zsh "${lines[@]}" > got
	diff wanted got
}

@test "fish: parses, and offers the same" {
	needs fish
	fish --no-execute "$made/crocuta.fish"
	shell=in_fish
	offers "$("$CROCUTA" options-dump | sort | paste -sd ' ')" "crocuta "
	offers "$("$CROCUTA" options-dump model | sort | paste -sd ' ')" "crocuta model "
	while read -r command; do
		offers "$(table_options "$command" | tr ' ' '\n' | grep '^--' | paste -sd ' ')" "crocuta $command --"
		# a lone dash: short ones too
		offers "$(table_options "$command")" "crocuta $command -"
	done < "$BATS_FILE_TMPDIR/commands"
	offers "bf16 f32" "crocuta embed --dtype "
	offers "--dtype=bf16 --dtype=f32" "crocuta embed --dtype="
	offers "--write-index=csi --write-index=tbi" "crocuta score --write-index="
	offers "${models_results/results/results\/}" "crocuta embed -m "
	offers "${models_results/results/results\/}" "crocuta model show "
	offers "reads.bam ref.fa results/" "crocuta embed -@ 4 re"
	offers "results/" "crocuta fit -o "
	offers "" "crocuta model list "
}

@test "help, tables and pages name the same options, and the same defaults" {
	while read -r command; do
		table_options "$command" | tr ' ' '\n' > table
		# shellcheck disable=SC2086 # words
		"$CROCUTA" $command --help > help
		{
			sed -n 's/^  \(-.\), \(--[a-z0-9-]*\).*/\1 \2/p; s/^      \(--[a-z0-9-]*\).*/\1/p' help | tr ' ' '\n'
			printf -- '--help\n-h\n'
		} | sort -u | diff table -
		# each option's line of help in one: "--name ARG what it is [default]"
		tr -s ' \n' '  ' < help > flat
		# shellcheck disable=SC2086
		"$CROCUTA" options-dump $command | awk -F'\t' 'NF > 1 {
			print "--" $1 ($3 == "-" ? "" : ($7 == "?" ? "[=" $3 "]" : " " $3)) " " $6 ($4 == "-" ? "" : " [" $4 "]") }' |
			while read -r line; do
				grep -qF -- "$line" flat || { echo "$command: not in the help: $line"; exit 1; }
			done
	done < "$BATS_FILE_TMPDIR/commands"
	run "$ROOT/tools/check-man" "$CROCUTA"
	echo "$output"
	[ "$status" = 0 ]
}

@test "words that the tables leave to the library are words that it knows" {
	printf '>s\nACGT\n' > s.fa
	for command in score concat; do
		for word in $(in_bash "crocuta $command -O "); do
			run "$CROCUTA" "$command" -O "$word" -o out.x absent.vcf
			echo "$output"
			[[ $output != *"unknown output type"* ]]
		done
	done
	for word in $(in_bash "crocuta embed --device "); do
		run "$CROCUTA" embed -m tiny-1k --device "$word" --dry-run s.fa
		echo "$output"
		[[ $output != *"--device \""* ]]
	done
}
