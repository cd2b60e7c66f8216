/**
 * A line as `packaging/docker/mk-docker-opts.sh` writes it: within double quotes, where a shell that reads it finds nothing to
 * expand and no second command.
 */
const LINE = /^DOCKER_\w+="(?:[^"\\$`\p{Cc}]|\\["\\$`])*"$/u

/** The content of a text file in two parts: Docker's options, which others have written into it, and all else. Whole lines. */
export function splitDockerOptions(content: string): { readonly options: string; readonly rest: string } {
  const options: string[] = []
  const rest: string[] = []
  for (const line of content.split(/(?<=\n)/)) (LINE.test(line.replace(/\n$/, '')) ? options : rest).push(line)
  return { options: options.join('').replace(/(?<=[^\n])$/, '\n'), rest: rest.join('') }
}
