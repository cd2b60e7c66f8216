#!/bin/sh
# Before Docker starts: are there options out of subnet.env, do they say what it says, and does Docker's unit use them?
# Exit code 0, or 1 with what is missing and what to do about it.
set -u
LC_ALL=C
export LC_ALL

flannel_env=/run/flannel/subnet.env
docker_env=/run/docker_opts.env
key=DOCKER_OPTS
while getopts f:d:k: flag; do
	case $flag in
	f) flannel_env=$OPTARG ;;
	d) docker_env=$OPTARG ;;
	k) key=$OPTARG ;;
	*)
		echo "usage: $0 [-f FLANNEL-ENV-FILE] [-d DOCKER-ENV-FILE] [-k COMBINED-KEY], as for mk-docker-opts.sh" >&2
		exit 1
		;;
	esac
done

refuse() {
	echo "Docker is not started: $1" >&2
	exit 1
}

# show UNIT PROPERTY
show() {
	systemctl show --value -p "$2" "$1" 2>/dev/null
}

# value KEY: what stands behind the last KEY= of subnet.env
value() {
	sed -n "s/^$1=//p" "$flannel_env" | tail -n 1
}

if [ ! -s "$flannel_env" ]; then
	state=$(show flanneld.service ActiveState)
	text=$(show flanneld.service StatusText)
	refuse "$flannel_env is not there, flanneld has no subnet yet (it is ${state:-unknown}${text:+: $text}); see: systemctl status flanneld"
fi
[ -s "$docker_env" ] || refuse "$docker_env is not there; see: systemctl status flanneld-docker-options"
options=$(sed -n "s/^$key=\"\(.*\)\"\$/\1/p" "$docker_env" | tail -n 1)
[ -n "$options" ] || refuse "$docker_env has no line $key=\"...\"; it is written by: systemctl start flanneld-docker-options"

# agrees FLAG VALUE: subnet.env's value, where it has one, stands in the options
agrees() {
	[ -z "$2" ] && return
	case " $options " in *" $1=$2 "*) ;; *) refuse "the options in $docker_env lack $1=$2, which $flannel_env says; run: systemctl start flanneld-docker-options" ;; esac
}
agrees --bip "$(value FLANNEL_SUBNET)"
agrees --mtu "$(value FLANNEL_MTU)"

command=$(show docker.service ExecStart)
case $command in
'' | *\$"$key"* | *\${"$key"}*) ;;
*) refuse "its unit does not pass \$$key to dockerd; run systemctl edit docker.service, write ExecStart= and below it the same ExecStart=... as now with \$$key at its end" ;;
esac
