// The ftp-srv server of scripts/ftpd. Its one argument is the settings as JSON.
'use strict';

const fs = require('fs');
const path = require('path');
const {FtpSrv} = require('ftp-srv');

const settings = JSON.parse(process.argv[2]);
const {tls} = settings;

// Its own log is bunyan's; this one writes down each command, a PASS without its argument, and what goes wrong.
const commands = fs.openSync(settings.commands, 'a', 0o600);
const failed = (...words) => console.error(...words.map((word) => (word && word.message) || word));
const silent = () => {};
const log = {
  child: () => log,
  trace: (what) => {
    if (!what || !what.command) return;
    const {directive, raw} = what.command;
    fs.writeSync(commands, `${directive === 'PASS' ? directive : raw}\n`);
  },
  debug: silent,
  info: silent,
  warn: silent,
  error: failed,
  fatal: failed,
};

const server = new FtpSrv({
  url: `${tls && tls.mode === 'implicit' ? 'ftps' : 'ftp'}://${settings.address}:${settings.port}`,
  pasv_url: settings.address,
  timeout: settings.idle * 1000,
  tls: tls ? {cert: fs.readFileSync(tls.certificate), key: fs.readFileSync(tls.key)} : false,
  log,
});

server.on('login', ({connection, username, password}, resolve, reject) => {
  if (username !== settings.user || password !== settings.password) {
    reject(new Error('not the account'));
  } else if (tls && tls.mode === 'required' && !connection.secure) {
    reject(new Error('TLS is required'));
  } else {
    resolve({root: settings.root});
  }
});
server.on('client-error', ({error}) => failed(error));

server.listen().then(() => {
  process.umask(0o022);
  process.setgroups([]);
  process.setgid(settings.gid);
  process.setuid(settings.uid);
});

// scripts/ftpd holds the other end and closes it only by ending: the kernel forgets, when a process changes its user,
// that its parent's death should end it.
process.stdin.on('end', () => process.exit());
process.stdin.resume();
