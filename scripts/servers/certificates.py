"""Certificates made for one run, and how a server is to speak TLS with them."""

import dataclasses
import ssl
from pathlib import Path

from servers.common import ADDRESS, call


def make_certificates(directory):
    """`ca.pem`, and `server.pem`, `client.pem` with their keys `server.key`, `client.key`, signed by it."""
    ca, ca_key = directory / "ca.pem", directory / "ca.key"
    new_key = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    # Python 3.13 and other strict verifiers want the key usage, and the key identifiers below.
    authority = ("-x509", "-days", "30", "-subj", "/CN=ftpfs test authority", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    call("openssl", *new_key, *authority, "-keyout", ca_key, "-out", ca)
    identifiers = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    extensions = {
        "server": f"basicConstraints=CA:FALSE\nsubjectAltName=IP:{ADDRESS},DNS:localhost\nextendedKeyUsage=serverAuth\n",
        "client": "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n",
    }
    for name, words in extensions.items():
        request, wanted = directory / f"{name}.csr", directory / f"{name}.ext"
        wanted.write_text(words + identifiers)
        call("openssl", *new_key, "-subj", f"/CN=ftpfs test {name}", "-keyout", directory / f"{name}.key", "-out", request)
        signing = ("-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-extfile", wanted, "-out", directory / f"{name}.pem")
        call("openssl", "x509", "-req", "-days", "30", "-in", request, *signing)


@dataclasses.dataclass
class Tls:
    """How a server is to speak TLS, and the files it needs for that."""

    mode: str
    reuse: bool
    version: str
    demands_client: bool
    files: Path

    def __post_init__(self):
        self.files.mkdir()
        make_certificates(self.files)
        # Some servers take certificate and key in one file.
        (self.files / "both.pem").write_text((self.files / "server.pem").read_text() + (self.files / "server.key").read_text())
        (self.files / "both.pem").chmod(0o600)

    @property
    def ca(self):
        return self.files / "ca.pem"

    @property
    def both(self):
        return self.files / "both.pem"

    @property
    def scheme(self):
        return "ftps" if self.mode == "implicit" else "ftpes"

    def told(self):
        """For the line of JSON."""
        return {"ca": str(self.ca), "client_cert": str(self.files / "client.pem"), "client_key": str(self.files / "client.key")}

    def environment(self):
        """OpenSSL's own settings, for the servers that have none of their own for the version."""
        if not self.version:
            return {}
        settings = self.files / "openssl.cnf"
        version = f"TLSv{self.version}"
        settings.write_text(f"""openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = defaults
[defaults]
MinProtocol = {version}
MaxProtocol = {version}
""")
        return {"OPENSSL_CONF": str(settings)}

    def client(self):
        """What a client of ours needs to speak to it."""
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.files / "client.pem", self.files / "client.key")
        return context
