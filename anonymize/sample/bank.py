"""Words that the sample hospital is made of. Codes are of ICD-10-CM and LOINC; places are real ZIP areas around one made-up hospital."""

from __future__ import annotations

WORD_FAMILY = ["Young", "White", "Hope", "Foot", "May", "Rose", "Brown", "Long", "Price", "Hand", "Bell", "Day", "Church", "Love", "Cook"]
WORD_GIVEN = ["Hope", "Grace", "Will", "Mark", "Faith", "Rose", "Summer", "Chase", "Art", "Dawn", "Joy", "Grant", "Pat", "Ray", "Violet"]
CELTIC = ["Brien", "Donnell", "Hara", "Neill", "Connor", "Carthy", "Kenna", "Leod", "Millan", "Reilly"]
RACES = ["White", "Black or African American", "Asian", "American Indian or Alaska Native", "Other"]
ETHNICITIES = ["Not Hispanic or Latino", "Hispanic or Latino"]
MARITAL = ["married", "single", "divorced", "widowed"]
RELATIONS = ["wife", "husband", "daughter", "son", "sister", "brother", "mother", "father", "friend"]
STREETS = ["Street", "Avenue", "Road", "Lane", "Drive", "Court", "Way", "Place"]
WARDS = ["ICU", "Cardiology", "Oncology", "Surgery", "Medicine", "Neurology"]
HOSPITALS = ["Maple Valley Medical Center", "St. Brendan's Hospital", "Northfield Community Hospital", "Harborview Clinic of Lynn"]
#: 036 is a restricted prefix: an area of 20,000 people or fewer.
PLACES = [
    ("02139", "Cambridge", "MA"),
    ("02138", "Cambridge", "MA"),
    ("02144", "Somerville", "MA"),
    ("02155", "Medford", "MA"),
    ("01902", "Lynn", "MA"),
    ("01960", "Peabody", "MA"),
    ("03060", "Nashua", "NH"),
    ("03602", "Alstead", "NH"),
]
PLACE_WEIGHTS = (22, 14, 16, 14, 12, 10, 10, 2)
DIAGNOSES = [
    ("I10", "Essential hypertension"),
    ("E11.9", "Type 2 diabetes mellitus without complications"),
    ("J45.909", "Unspecified asthma, uncomplicated"),
    ("I50.9", "Heart failure, unspecified"),
    ("J18.9", "Pneumonia, unspecified organism"),
    ("N39.0", "Urinary tract infection, site not specified"),
    ("G20.A1", "Parkinson's disease without dyskinesia"),
    ("K50.90", "Crohn's disease, unspecified, without complications"),
    ("E24.9", "Cushing's syndrome, unspecified"),
    ("C50.919", "Malignant neoplasm of unspecified site of unspecified female breast"),
    ("F32.A", "Depression, unspecified"),
    ("M17.9", "Osteoarthritis of knee, unspecified"),
    ("I48.91", "Unspecified atrial fibrillation"),
    ("N18.30", "Chronic kidney disease, stage 3 unspecified"),
    ("S72.001A", "Fracture of unspecified part of neck of right femur"),
]
LABS = [
    ("718-7", "Hemoglobin", 13.5, 1.6, "g/dL"),
    ("2345-7", "Glucose", 112.0, 30.0, "mg/dL"),
    ("2160-0", "Creatinine", 1.1, 0.3, "mg/dL"),
    ("2951-2", "Sodium", 139.0, 3.0, "mmol/L"),
    ("2823-3", "Potassium", 4.1, 0.4, "mmol/L"),
    ("4548-4", "Hemoglobin A1c", 6.4, 1.1, "%"),
    ("6690-2", "Leukocytes", 7.8, 2.2, "10*3/uL"),
]
#: What must survive: eponyms, drugs, doses, scores, vitals.
CLINICAL = [
    "Parkinson's disease stable on carbidopa-levodopa 25-100 mg three times daily.",
    "A Foley catheter was placed and drained 400 mL of clear urine.",
    "Cushing's syndrome was considered; dexamethasone suppression test was normal.",
    "BP 132/84, HR 76, RR 16, SpO2 97% on room air, temp 98.6 F.",
    "Continue metoprolol 25 mg twice daily, lisinopril 10 mg daily and atorvastatin 40 mg at bedtime.",
    "Glasgow Coma Scale 15. Babinski sign absent, Romberg test negative.",
    "CT of the head showed no acute hemorrhage; EKG showed sinus rhythm without ST changes.",
    "Hemoglobin 12.1, creatinine 1.2, potassium 4.4. Strength 5/5 in all extremities, pain 3/10.",
    "Crohn's disease in remission on adalimumab 40 mg every two weeks.",
    "Lungs clear to auscultation bilaterally, no wheezes, rales or rhonchi.",
    "Heparin drip stopped, warfarin started with a goal INR of 2-3.",
    "Wound is clean, dry and intact; sutures to be removed in ten days.",
    "The patient denies chest pain, shortness of breath, nausea or vomiting.",
    "Echocardiogram with an ejection fraction of 55% and mild mitral regurgitation.",
]
SURVIVORS = [
    "Parkinson's disease",
    "Foley catheter",
    "Cushing's syndrome",
    "metoprolol 25 mg",
    "Babinski sign",
    "Crohn's disease",
    "INR of 2-3",
]
