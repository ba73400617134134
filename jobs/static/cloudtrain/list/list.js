// The scripts of the list of jobs.

import "./toolbar.js";
import "./selection.js";
