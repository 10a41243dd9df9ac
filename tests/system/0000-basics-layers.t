#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Calls go down only: no file includes a header of a higher layer (architecture: layers).
src=${VOLNFS_SRC:-$(cd "$(dirname "$0")/../.." && pwd)}
cd "$src" || exit 1

# FOLDER: what its files may include beside system headers, as an extended regular expression.
rules='common ^(common/|config\.h$)
proto ^(common/|proto/|config\.h$)
server/metrics ^(common/|server/metrics/|config\.h$)
server/store ^(common/|server/store/|config\.h$)
server/grant ^(common/|server/store/statedb\.h$|server/grant/|config\.h$)
server/vfs ^(common/|server/store/(types|volume|snap|statedb)\.h$|server/grant/grant(_text)?\.h$|server/vfs/|config\.h$)
server/state ^(common/|proto/|server/state/|server/store/statedb\.h$|server/rpc/request\.h$|config\.h$)
server/nfs4 ^(common/|proto/|server/nfs4/|server/state/|server/grant/grant\.h$|server/vfs/vfs\.h$|server/store/(types|volume|snap|statedb)\.h$|server/rpc/(request|rpcserver)\.h$|server/metrics/metrics\.h$|config\.h$)
server/rpc ^(common/|proto/|server/rpc/|config\.h$)
server/control ^(common/|proto/|server/control/|server/grant/grant(_text)?\.h$|server/rpc/|server/vfs/vfs\.h$|server/state/(state|client|deleg|report|user)\.h$|server/metrics/metrics\.h$|server/nfs4/server\.h$|server/store/(types|volume|snap|statedb)\.h$|config\.h$)'

n=0
failed=0
echo "1..$(printf '%s\n' "$rules" | wc -l)"
while read -r dir allowed; do
    n=$((n + 1))
    if ! ls "$dir"/*.[ch] >/dev/null 2>&1; then
        echo "not ok $n - $dir has no source files"
        failed=1
        continue
    fi
    bad=$(grep -H '^#include "' "$dir"/*.[ch] | sed 's/^\([^:]*\):#include "\([^"]*\)".*/\1 \2/' |
        awk -v ok="$allowed" '$2 !~ ok { print "#   " $1 " includes " $2 }')
    if [ -n "$bad" ]; then
        echo "not ok $n - $dir includes only what it may"
        echo "$bad"
        failed=1
    else
        echo "ok $n - $dir includes only what it may"
    fi
done <<EOF
$rules
EOF
exit $failed
