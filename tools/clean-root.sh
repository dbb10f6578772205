# shellcheck shell=bash
# clean-root.sh - clean Debian systems for the checks of packaging/. Sourced; bash.
#
# Expects suite and sources; gives scratch, logs, and the functions below. What commands print goes to
# $logs/current, one file a step; it is shown when one fails.

say() { printf '%s: %s\n' "$name" "$*"; }
die() {
	printf '%s: %s\n' "$name" "$*" >&2
	exit 1
}

clean_root_begin() { # NAME
	local file tool
	name=$1
	[ "$(id -u)" = 0 ] || die "needs root: it makes systems of its own with mmdebstrap"
	for tool in mmdebstrap git unshare; do
		command -v $tool > /dev/null || die "needs $tool"
	done
	[ -n "${suite-}" ] || die "which release? --suite NAME"
	if [ ${#sources[@]} -eq 0 ]; then
		for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
			# third parties have suites of their own names or sign with their own keys
			if grep -qsw "$suite" "$file" && ! grep -qs -e 'signed-by=' -e 'cloud' "$file" &&
				! grep -is '^signed-by:' "$file" | grep -qv -e debian-archive -e ubuntu-archive; then
				sources+=("$file")
			fi
		done
	fi
	[ ${#sources[@]} -gt 0 ] || die "no list of packages of $suite here; --sources FILE"
	scratch=$(mktemp -d)
	logs=$scratch/logs steps=0
	mkdir "$logs"
	trap clean_root_end EXIT
}

clean_root_end() {
	local status=$?
	if [ $status -ne 0 ]; then
		printf '%s: failed in: %s\n' "$name" "${current-}" >&2
		tail -n 40 "$logs/current" 2> /dev/null | cut -c 1-300 | sed 's/^/    /' >&2
	fi
	[ -z "${keep-}" ] || cp -RL "$logs" "$keep" 2> /dev/null || true
	rm -rf --one-file-system "$scratch"
}

step() { # what comes next
	current=$*
	steps=$((steps + 1))
	: > "$logs/$steps.log"
	ln -sf $steps.log "$logs/current"
	say "$* ($((SECONDS / 60)) min $((SECONDS % 60)) s)"
}

clean_root_done() {
	say "ok, $steps steps in $((SECONDS / 60)) min $((SECONDS % 60)) s"
}

# make_root NAME VARIANT [PACKAGES [ARCHITECTURES]]: a system in $scratch/NAME with a user 1000
make_root() {
	mmdebstrap --quiet --mode=root --variant="$2" --format=directory ${3:+--include="$3"} \
		${4:+--architectures="$4"} "$suite" "$scratch/$1" "${sources[@]}" >> "$logs/current" 2>&1
	chroot "$scratch/$1" useradd --uid 1000 --create-home someone
	online "$1" apt-get -qy update
}

# In a system: as root, with the network, for apt
online() { # NAME COMMAND...
	local root=$scratch/$1
	shift
	DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 HOME=/root \
		unshare --mount --pid --fork --mount-proc="$root/proc" \
		chroot "$root" "$@" >> "$logs/current" 2>&1 < /dev/null
}

# In a system: as user 1000, without network, with an environment of its own. $scratch/said has the output.
offline() { # NAME COMMAND...
	local root=$scratch/$1
	shift
	unshare --mount --pid --net --fork --mount-proc="$root/proc" \
		chroot --userspec=1000:1000 "$root" env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin LC_ALL=C.UTF-8 \
		HOME=/home/someone "$@" 2>&1 < /dev/null | tee "$scratch/said" >> "$logs/current"
}

# The last output, as part of ours
show() { sed 's/^/    /' "$scratch/said"; }

# copy_tree DIRECTORY: this tree as git sees it, changes included
copy_tree() {
	mkdir -p "$1"
	git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
		[ ! -e "$file" ] || printf '%s\0' "$file"
	done | tar --null -T - -cf - | tar -C "$1" -xf - --no-same-owner
}
