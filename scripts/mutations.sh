#!/usr/bin/env bash
# Breaks the code that protects each invariant of DESIGN.md, section 11, and demands that the test which names the
# invariant fails. Called by ./test --mutations; arguments name some of tests/mutations/*.patch (I7, I12).
#
# A patch begins with two comment lines: the invariant, and the test as arguments of cargo test. The sources are copied,
# so the working tree stays as it is; what is not committed takes part too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

root=$PWD
# built apart from everything else, and kept: the next run compiles only what a patch touches
export CARGO_TARGET_DIR=${SYNC_MUTATIONS_TARGET:-$root/target/mutations}
export RUST_BACKTRACE=0 CARGO_TERM_COLOR=never
unset SYNC_TESTS_BUILT SYNC_TESTS_NOT_RUN

mkdir -p "$CARGO_TARGET_DIR"
tree=$CARGO_TARGET_DIR/tree
exec 9>"$CARGO_TARGET_DIR/mutations.lock"
flock -n 9 || { echo "another run is using $CARGO_TARGET_DIR" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/mutations.XXXXXX")
trap 'rm -rf "$work"' EXIT
rm -rf "$tree"
mkdir "$tree"
# all files get the time of now: nothing that was built from a broken copy passes for fresh
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    [ ! -e "$file" ] || printf '%s\0' "$file"
done | tar -c --null -T - | tar -x -m -C "$tree"
cd "$tree"

patches=()
if [ $# -eq 0 ]; then
    for number in $(seq 1 22); do patches+=("tests/mutations/I$number.patch"); done
else
    for name in "$@"; do patches+=("tests/mutations/${name%.patch}.patch"); done
fi

field() { sed -n "s/^# $1: //p" "$2" | head -n 1; }

# every patch has to apply before the first is built: one that no longer does protects nothing
bad=0
for patch in "${patches[@]}"; do
    if [ ! -f "$patch" ] || [ -z "$(field test "$patch")" ] || [ -z "$(field breaks "$patch")" ]; then
        echo "$patch: missing, or without its lines '# breaks:' and '# test:'" >&2
        bad=1
    elif ! patch -p1 --dry-run --force --fuzz=2 --quiet <"$patch" >"$work/apply.log" 2>&1; then
        echo "$patch no longer applies: the code that it breaks has moved; make it anew" >&2
        sed 's/^/    /' "$work/apply.log" >&2
        bad=1
    fi
done
[ "$bad" = 0 ] || exit 1

# runs the test of a patch; prints passed, failed, or what else became of it
outcome() {
    local log=$1
    shift
    local name=${*: -1}
    if timeout 1800 cargo test --locked "$@" -- --exact >"$log" 2>&1; then
        grep -q "^test $name .*ok$" "$log" && echo passed || echo "not run"
    elif grep -q "^test $name .*FAILED$" "$log" || grep -q "^    $name$" "$log"; then
        echo failed
    else
        echo "not built"
    fi
}

# those of one crate after each other, so that as little as possible is built again
mapfile -t patches < <(for patch in "${patches[@]}"; do printf '%s\t%s\n' "$(field test "$patch")" "$patch"; done | sort | cut -f 2)

# without its patch a test has to pass, or its failure would say nothing
declare -A whole
for patch in "${patches[@]}"; do
    read -ra test <<<"$(field test "$patch")"
    echo "== whole: ${test[*]}" >&2
    [ -n "${whole[${test[*]}]-}" ] || whole[${test[*]}]=$(outcome "$work/whole.log" "${test[@]}")
    [ "${whole[${test[*]}]}" = passed ] || tail -n 30 "$work/whole.log" >&2
done

table=$work/table
failures=0
for patch in "${patches[@]}"; do
    invariant=$(basename "$patch" .patch)
    read -ra test <<<"$(field test "$patch")"
    echo "== $invariant: $(field breaks "$patch")" >&2
    before=${whole[${test[*]}]}
    patch -p1 --force --fuzz=2 --quiet <"$patch"
    after=$(outcome "$work/broken.log" "${test[@]}")
    patch -p1 --force --fuzz=2 --quiet -R <"$patch"
    verdict=caught
    if [ "$before" != passed ] || [ "$after" != failed ]; then
        verdict="NOT CAUGHT (whole: $before, broken: $after)"
        failures=$((failures + 1))
        tail -n 30 "$work/broken.log" >&2
    fi
    printf '%-4s %-8s %s\n     by %s\n' "$invariant" "$verdict" "$(field breaks "$patch")" "${test[*]}" >"$work/$invariant.row"
    cat "$work/$invariant.row" >&2
done
for row in $(cd "$work" && ls ./*.row | sort -V); do cat "$work/$row" >>"$table"; done
echo "== mutations"
cat "$table"
echo "mutations: $((${#patches[@]} - failures)) of ${#patches[@]} caught"
[ "$failures" = 0 ]
