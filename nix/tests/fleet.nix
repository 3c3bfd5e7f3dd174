# A fleet for the test machines: keys and values are generated at build time, so that none is in the repository.
# Everybody can read them in the store, so they are good only for tests.
{
  runCommand,
  git,
  openssh,
  sealift,
}:
# One for each machine of a test: its name, and the shell lines that seal its secrets.
host: seal:
runCommand "sealift-test-fleet"
  {
    nativeBuildInputs = [
      git
      openssh
      sealift
    ];
  }
  ''
    export HOME=$PWD
    git init --quiet fleet
    cd fleet
    sealift init
    sealift identity new --admin jay --file ../jay --plain
    ssh-keygen -q -t ed25519 -N "" -C root@${host} -f ../host
    sealift host add ${host} --key-file ../host.pub
    ${seal}
    mkdir $out
    cp -R recipients.toml secrets $out/
    cp ../host ../host.pub ../jay $out/
  ''
