/** The image that kube-flannel.yml names, and that `npm run image` writes. */
export const developmentImage = 'localhost/flanneld:dev'

// A name, a tag, a digest, as in https://github.com/distribution/reference; what else YAML could take for its own is none of it.
const reference = /^[a-z0-9]+([._:/-]+[a-zA-Z0-9]+)*(@sha256:[0-9a-f]{64})?$/

/** The manifest with another image of the daemon. @throws for a name that is none, and where the manifest names none to replace */
export function withImage(manifest: string, name: string): string {
  if (!reference.test(name))
    throw new Error(`--image: ${JSON.stringify(name)} is no image name such as registry.example/flanneld:1.0`)
  const line = `image: ${developmentImage}\n`
  if (!manifest.includes(line)) throw new Error(`the manifest has no line ${JSON.stringify(line)}`)
  return manifest.replaceAll(line, `image: ${name}\n`)
}
