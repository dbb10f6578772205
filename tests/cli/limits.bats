# limits.bats - limits of the machine and of other tools that are easily mistaken for our bugs
load common

setup() { cd "$BATS_TEST_TMPDIR"; }

@test "threads that cannot be started are status 6, not the OpenMP runtime's exit" {
	if ! setpriv --reuid 12346 --clear-groups true 2> /dev/null; then
		skip "setpriv to a plain user is not possible here"
	fi
	make_fasta a.fa
	chmod 777 .
	status=0
	setpriv --reuid 12346 --clear-groups bash -c \
		'ulimit -u 6; exec "$0" embed -q -@ 16 -m "$1" -o u.npy a.fa' "$CROCUTA" "$MODEL" \
		2> stderr.txt || status=$?
	# where the user may not read the tree there is nothing to learn
	grep -q "Permission denied" stderr.txt && skip "the tree is closed to other users"
	cat stderr.txt
	[ "$status" = 6 ]
	grep -q "cannot start 16 threads" stderr.txt
	[ ! -e u.npy ]
}

@test "any limit of threads ends in a result or in status 6, and leaves nothing behind" {
	if ! setpriv --reuid 12347 --clear-groups true 2> /dev/null; then
		skip "setpriv to a plain user is not possible here"
	fi
	make_fasta a.fa
	chmod 777 .
	for limit in 2 3 4 5 6 7 8 9 10; do
		status=0
		setpriv --reuid 12347 --clear-groups bash -c \
			'ulimit -u $2; exec "$0" embed -q -@ 4 -m "$1" -o u.npy a.fa' "$CROCUTA" "$MODEL" \
			$limit 2> stderr.txt || status=$?
		grep -q "Permission denied" stderr.txt && skip "the tree is closed to other users"
		echo "$limit: $status $(cat stderr.txt)"
		[ "$status" = 0 ] || [ "$status" = 6 ]
		[ "$status" = 0 ] || [ ! -e u.npy ]
		rm -f u.npy u.rows.bed.gz u.meta.json
		[ -z "$(find . -name '*.part')" ]
	done
	[ "$status" = 0 ] # four threads and one that reads, and what runs around them
}

@test "an empty record that an indexer left out is named" {
	printf '>a\nACGT\n>b\n>c\nACGTT\n' > e.fa
	printf 'a\t4\t3\t4\t5\nc\t5\t14\t5\t6\n' > e.fa.fai
	fails 3 'the record before "c"' embed -o out/e.npy e.fa
}

@test "BED under another name is noticed, and what is read from 1 is said" {
	make_fasta a.fa
	printf 'chrA\t10\t20\n' > r.BED
	printf 'chrA\t10\t20\n' > r.txt
	embed --bin 0 -R r.BED a.fa | grep -v '^#' | cut -f 2,3 > got
	echo "10	20" | cmp - got
	"$CROCUTA" embed -m "$MODEL" --bin 0 -R r.txt a.fa 2> stderr.txt | grep -v '^#' |
		cut -f 2,3 > got
	echo "9	20" | cmp - got
	grep -q 'r.txt: read as CHROM POS' stderr.txt
	printf 'chrA\t10\t20\tx\t0\t+\n' > s.txt
	fails 3 "looks like BED" embed -R s.txt -o out/s.npy a.fa
}
