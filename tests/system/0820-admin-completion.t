#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Completion in bash: it knows what the command knows, and the volumes of the store.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
. "${VOLNFS_SRC:-.}/client/cli/completions/volnfs"
unset VOLNFS_STORE
export LC_ALL=C

# complete_line WORD...: what the last word becomes, sorted, on one line.
complete_line() {
    COMP_WORDS=("$VOLNFS" "$@") COMP_CWORD=$#
    _volnfs >/dev/null
    printf '%s\n' "${COMPREPLY[@]}" | sort | tr '\n' ' ' | sed 's/^ *//; s/ $//'
}

# Without a store.
"$VOLNFS" help >"$T/help"
verbs=$(sed -nE 's/^  ([a-z]+)  .*/\1/p' "$T/help")
is "verbs" "$(complete_line '')" "$(echo "$verbs" | sort | tr '\n' ' ' | sed 's/ $//')"
is "verbs to ask about" "$(complete_line help '')" "$(complete_line '')"
for verb in $verbs; do
    "$VOLNFS" help "$verb" >"$T/help"
    grep -q -- '-s SERVER' "$T/help" && echo ' --server ' >>"$T/help"
    is "the options of $verb" "$(complete_line "$verb" --)" \
        "$({ cat "$T/help"; echo --store --json --help; } | grep -oE -- '--[a-z][a-z-]*' | sort -u |
            tr '\n' ' ' | sed 's/ $//')"
done
is "no store, no volumes" "$(complete_line destroy '')" ""
is "nor of one that is not there" "$(complete_line --store "$T/none" destroy '')" ""

ok "a server" server_start
volnfs create alice/mydata && volnfs create alice/mine && volnfs create bob/all
is "volumes" "$(complete_line --store "$T/store" destroy '')" "alice/mine alice/mydata bob/all"
is "that begin so" "$(complete_line --store "$T/store" check alice/my)" "alice/mydata"
is "--store=DIR" "$(complete_line --store = "$T/store" check b)" "bob/all"
is "the store after the verb" "$(complete_line get -S "$T/store" b)" "bob/all"
VOLNFS_STORE=$T/store
is "the store of the environment" "$(complete_line list alice/mi)" "alice/mine"
is "users to create volumes for" "$(complete_line create '')" "alice/ bob/"
is "volumes with files in them" "$(complete_line ls -l b)" "bob/all:/"
is "more than one" "$(complete_line rm alice/mine : /x b)" "bob/all:/"
: >"$T/bobfile"
is "cp takes local files too" "$(cd "$T" && complete_line cp bob)" "bob/all:/ bobfile"
is "volumes to run with" "$(complete_line run -v alice/my)" "alice/mydata"
is "users to run as" "$(complete_line run -u a)" "alice"
like "a command to run" " $(complete_line run -v bob/all -- whoam) " " whoami "
is "properties" "$(complete_line set alice/mine q)" "quota-files= quota="
is "values" "$(complete_line set alice/mine readonly =)" "off on"
is "values that begin so" "$(complete_line set alice/mine compression = o)" "off"
is "properties to create with" "$(complete_line create alice/new -o rea)" "readonly="
is "a property to get" "$(complete_line get alice/mine c)" "compression"
volnfs snapshot create alice/mydata@monday alice/mydata@tuesday
is "what to do with snapshots" "$(complete_line snapshot '')" "create destroy list rename rollback"
is "volumes to take snapshots of" "$(complete_line snapshot create b)" "bob/all@"
is "volumes that have some" "$(complete_line snapshot destroy '')" "alice/mydata@"
is "snapshots" "$(complete_line snapshot destroy alice/mydata @)" "monday tuesday"
is "that begin so" "$(complete_line snapshot rename alice/mydata @ t)" "tuesday"
is "one to clone" "$(complete_line clone alice/mydata @ m)" "monday"
is "where @ is no word of its own" "$(complete_line snapshot destroy alice/mydata@m)" "alice/mydata@monday"
# shellcheck disable=SC2016
VOLNFS_STORE='$(touch '$T'/ran)'
is "a store's name is only a name" "$(complete_line list '')$(ls "$T/ran" 2>/dev/null)" ""
ok "the server ends" server_stop
done_testing
