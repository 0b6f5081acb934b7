// Runs in Netron's page before Netron does, and stands beside its scripts there.

import { Host } from "./browser.js";

/** Netron's own asks where one is and for consent, and tells Google Analytics what one opens. */
Host.prototype.view = async function (view) {
  this._view = view;
  this._environment.packaged = false; // what goes wrong is said, and no issue is opened about it
};

/** What leads to other sites opens a page of its own: in a frame it would be refused. */
Host.prototype.openURL = (url) => window.open(url, "_blank", "noopener");
