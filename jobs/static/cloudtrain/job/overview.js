// The first tab of a job has a log and curves.

import "./job_log.js";
import "./curves.js";
